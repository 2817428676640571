//! The same product, kept by systemd. Only its section of the site is another one.
use crate::support::{
    shop::Shop,
    systemd::{self, Systemd},
};

pub struct Unit {
    name: String,
    manager: &'static Systemd,
}

impl Unit {
    /// Takes the shop over, which does not run yet.
    pub fn keeps(shop: &Shop) -> Self {
        let root = shop.folder.root.display();
        let (manager, name) = (systemd::system(), format!("shop-{}.service", shop.folder.port));
        let runtime = shop.folder.path("srv/runtime");
        manager.unit(
            &name,
            &format!(
                "[Service]\nExecStart={root}/srv/app/current/bin/shop serve --config srv/config/shop.toml\n\
                 WorkingDirectory={root}\nEnvironment=SHOP_RUNTIME={}\n",
                runtime.display()
            ),
        );
        let run = r#"run = ["srv/app/current/bin/shop", "serve", "--config", "srv/config/shop.toml"]"#;
        let by_backout = format!("driver = \"process\"\n{run}\nenv = {{ SHOP_RUNTIME = \"{}\" }}\n", runtime.display());
        let by_systemd = format!(
            "driver = \"systemd\"\nunit = \"{name}\"\nbus = \"{}\"\njournal = \"{}\"\n",
            manager.bus().display(),
            manager.journal().display()
        );
        shop.edit_site(&by_backout, &by_systemd);
        Self { name, manager }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.manager.ctl(&["stop", &self.name]);
    }
}
