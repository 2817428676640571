"""A mail server that keeps what it takes: a line of JSON for each message. Its port is the first line that it prints.

It takes a user and password when it is given one, puts the first DEFER messages off, and refuses every recipient whose name begins
with `nobody`. With a certificate it speaks TLS: `starttls` or `tls`."""
import argparse, ctypes, json, signal, socket, ssl, sys

try:
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult
except ImportError:
    sys.exit("aiosmtpd is missing: tests/run installs it (Debian's python3-aiosmtpd)")

# It ends with whoever started it.
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--login", default="")
parser.add_argument("--defer", type=int, default=0)
parser.add_argument("--tls", choices=["starttls", "tls"])
parser.add_argument("--certificate")
args = parser.parse_args()


class Keep:
    left = args.defer

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        line = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "user": getattr(session, "auth_data", None) and "known"}
        line["taken"] = Keep.left == 0
        line["data"] = envelope.content.decode(errors="replace")
        with open(args.file, "a") as file:
            file.write(json.dumps(line) + "\n")
        if Keep.left:
            Keep.left -= 1
            return "451 later, please"
        return "250 OK"


def login(server, session, envelope, mechanism, data):
    given = f"{data.login.decode()}:{data.password.decode()}"
    return AuthResult(success=given == args.login, handled=False)


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
options = {}
if args.login:
    options = {"authenticator": login, "auth_required": True, "auth_require_tls": args.tls == "starttls"}
context = None
if args.tls:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(args.certificate)
if args.tls == "tls":
    controller = Controller(Keep(), hostname="127.0.0.1", port=port, ssl_context=context, **options)
else:
    options |= {"tls_context": context, "require_starttls": True} if context else {}
    controller = Controller(Keep(), hostname="127.0.0.1", port=port, **options)
controller.start()
print(port, flush=True)
signal.sigwait([signal.SIGTERM])
