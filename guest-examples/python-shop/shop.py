"""Takes Shop from 1.x to 2.0, and back."""
from backout import LifeCycle, assess, prepare, risk, rollback, setting, upgrade, verify
from wit_world.imports import backup, context, database, files, log, logs, metrics, probe, service, tool

HEALTHY = "error-rate < 1% and p95 <= 5 * baseline"


@assess
def risks():
    notes = database.query("orders", "select count(*) from orders where note <> ''")[0][0]
    yield risk("high", "data", f"2.0 drops orders.note; {notes} orders have one")
    yield risk("low", "availability", "the shop is closed while its data is migrated")


@prepare(3)
def baseline():
    "Record how 1.0 behaves"
    metrics.baseline("shop", 3)


@prepare(2, after=["baseline"])
def copy_data():
    "Copy the database, prove the copy"
    backup.take("orders")


@prepare(2, after=["baseline"])
def copy_files():
    "Copy program and configuration"
    backup.take("app")
    backup.take("config")


@upgrade(3)
def close():
    "Close the shop, bring the copies up to date"
    service.stop("shop")
    database.fence("orders", 30)
    backup.refresh()


@upgrade(3, roles=["dba"])
def install():
    "Install 2.0, migrate the database"
    files.install("app", "versions/2.0", "shop-2.0")
    files.link("app", "current", "versions/2.0")
    config = files.read("config", "shop.toml").decode()
    if "theme =" not in config:
        files.write("config", "shop.toml", (config + 'theme = "2.0"\n').encode())
    database.unfence("orders")  # the migration opens the database itself
    log.info(tool.run("migrate"))


@upgrade(2)
def start_new():
    "Start 2.0"
    start()


@upgrade(lambda: setting("watch"))
def watch():
    "Watch 2.0"
    metrics.watch("shop", HEALTHY, setting("watch"))


@rollback(2)
def stop():
    "Stop 2.0"
    service.stop("shop")


@rollback(2, roles=["dba"])
def restore():
    "Put 1.0 and its data back"
    for resource in "orders", "app", "config":
        backup.restore(resource)


@rollback(2)
def compare():
    "Data is as it was when the shop closed"
    # Until `close` is done customers go on writing: the copies are behind, and `restore` has left the data alone.
    if context.completed("upgrade/close"):
        database.check_unchanged("orders")


@rollback(2)
def start_old():
    "Start 1.0"
    start()


@verify(1, after=[])
def answers():
    "Orders can be read"
    probe.check("shop", "/orders/1", "status = 200 and json total > 0")


@verify(1, after=[])
def headers():
    "Security headers are set"
    probe.check("shop", "/orders/1", "header x-frame-options = DENY")


@verify(lambda: setting("load"), after=[])
def load():
    "Fast enough under load"
    probe.check_load("shop", "/orders", setting("clients"), setting("load"), "p95 < 500ms and errors < 1%")


@verify(1, after=[])
def log_is_clean():
    "Nothing bad in the log"
    logs.check("shop", ["panic", "ERROR"])


def start():
    database.unfence("orders")
    logs.mark("shop")
    service.start("shop")
    probe.until("shop", "/health", "status = 200", 20)
