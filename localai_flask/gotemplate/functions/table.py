"""All functions by the names that templates call them by, and those that are refused, with the reason."""

from __future__ import annotations

from types import MappingProxyType

from localai_flask.gotemplate.functions import builtins, dates, dicts, encoding, lists, numbers, strings, values, words
from localai_flask.gotemplate.functions.function import Function

MODULES = (
    builtins,
    strings,
    words,
    lists,
    dicts,
    values,
    numbers,
    dates,
    encoding,
)
FUNCTIONS = MappingProxyType(
    {name: Function.of(name, code) for module in MODULES for name, code in module.TABLE.items()}
)

OUTSIDE = "a template reaches nothing but its data"
SECRETS = "templates make no keys, passwords or certificates"
REGEX = "regular expressions of a template could run without end; use `contains`, `splitList`, `replace` or `trimAll`"
PATHS = "use `base`, `clean`, `dir`, `ext` or `isAbs`"
CHANCE = "a prompt that changes by chance is never found in the prompt cache"
DIGESTS = "a prompt has no use for a digest"
UNSUPPORTED = "it is not supported here"

_REGEX_NAMES = ("Match", "Find", "FindAll", "ReplaceAll", "ReplaceAllLiteral", "Split", "QuoteMeta")
REFUSED = MappingProxyType(
    {
        "call": "no value of a template is a function",
        **dict.fromkeys(("env", "expandenv", "getHostByName"), OUTSIDE),
        **dict.fromkeys(("osBase", "osClean", "osDir", "osExt", "osIsAbs"), PATHS),
        **dict.fromkeys(("bcrypt", "htpasswd", "derivePassword", "genPrivateKey", "buildCustomCert", "genCA"), SECRETS),
        **dict.fromkeys(("genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert"), SECRETS),
        **dict.fromkeys(("genSignedCertWithKey", "encryptAES", "decryptAES", "randBytes"), SECRETS),
        **dict.fromkeys(
            ("randAlphaNum", "randAlpha", "randNumeric", "randAscii", "randInt", "shuffle", "uuidv4"), CHANCE
        ),
        **dict.fromkeys(("sha1sum", "sha256sum", "sha512sum", "adler32sum"), DIGESTS),
        **dict.fromkeys(("toDate", "mustToDate"), "write a date as seconds since 1970"),
        **dict.fromkeys(("semver", "semverCompare", "urlParse", "urlJoin"), UNSUPPORTED),
        **{f"regex{name}": REGEX for name in _REGEX_NAMES},
        **{f"mustRegex{name}": REGEX for name in _REGEX_NAMES},
    }
)
