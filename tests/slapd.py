"""A real OpenLDAP server with people in it."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import trustme

from tests.debian import program
from tests.process import free_port

#: Seconds for it to be set up, to listen, or to end, however busy the machine is.
PATIENCE = 100.0
BASE = "ou=people,dc=example,dc=org"
ADMIN = "cn=admin,dc=example,dc=org"
#: Two entries have the uid "twin"; "ghost" has no password; "elsewhere" is a referral.
_ENTRIES = f"""
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: {BASE}
objectClass: organizationalUnit
ou: people

dn: uid=alice,{BASE}
objectClass: account
objectClass: simpleSecurityObject
uid: alice
userPassword: right

dn: uid=Bob,{BASE}
objectClass: account
objectClass: simpleSecurityObject
uid: Bob
userPassword: right

dn: uid=ghost,{BASE}
objectClass: account
uid: ghost

dn: ou=more,{BASE}
objectClass: organizationalUnit
ou: more

dn: uid=twin,{BASE}
objectClass: account
objectClass: simpleSecurityObject
uid: twin
userPassword: right

dn: uid=twin,ou=more,{BASE}
objectClass: account
objectClass: simpleSecurityObject
uid: twin
userPassword: right

dn: ou=elsewhere,{BASE}
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:1/ou=elsewhere,{BASE}
"""


class Slapd:
    """A directory of its own on two ports of this host; its certificate is for ``localhost``."""

    def __init__(self) -> None:
        slapd = program("slapd")
        self._top = tempfile.TemporaryDirectory(prefix="imd-slapd-")
        self.directory = Path(self._top.name)
        self.port, self.tls_port = free_port(), free_port()
        self.authority = self.directory / "ca.pem"
        self._certify()
        self._configure()
        self._run(slapd, "-T", "add", "-l", str(self._file("people.ldif", _ENTRIES)))
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        death = ["setpriv", "--pdeathsig", "KILL"]
        command = [*death, slapd, "-d", "0", "-f", str(self._conf), "-h", urls]
        self._process = subprocess.Popen(command, cwd=self.directory)
        self._wait()

    def signal(self, number: int) -> None:
        """Stop it (SIGSTOP) or let it go on (SIGCONT)."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End it and remove the directory."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._top.cleanup()

    def _certify(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = authority.issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(self.directory / "server.pem")

    def _configure(self) -> None:
        pem, data = self.directory / "server.pem", self.directory / "data"
        data.mkdir()
        module = next(iter(Path("/usr/lib/ldap").glob("back_mdb*")), None)
        load = "modulepath /usr/lib/ldap\nmoduleload back_mdb\n" if module else ""
        schemas = (Path("/etc/ldap/schema") / f"{name}.schema" for name in ("core", "cosine"))
        text = "".join(f"include {schema}\n" for schema in schemas) + load
        text += (
            f"TLSCertificateFile {pem}\nTLSCertificateKeyFile {pem}\nTLSCACertificateFile {pem}\n"
        )
        # Nobody is let in without TLS; and anonymous binds with a DN are possible, as they
        # are with many a directory.
        text += "security simple_bind=1\nallow bind_anon_dn bind_anon_cred\n"
        text += f'database mdb\nsuffix "dc=example,dc=org"\ndirectory {data}\n'
        text += f'rootdn "{ADMIN}"\nrootpw secret\n'
        text += "access to attrs=userPassword by anonymous auth\naccess to * by * read\n"
        self._conf = self._file("slapd.conf", text)

    def _file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def _run(self, slapd: str, *arguments: str) -> None:
        command = [slapd, *arguments, "-f", str(self._conf)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), 1).close()
            except OSError:
                assert self._process.poll() is None, "slapd does not start"
                time.sleep(0.05)
            else:
                return
        raise AssertionError("slapd does not listen")
