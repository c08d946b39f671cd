from imd.auth.factories import Factory

jwt = Factory(
    "jwt",
    "Signed tokens of one issuer, sent as the password.",
    "iss=ISSUER:aud=AUDIENCE:alg=EdDSA|RS256|HS256:key=FILE[:kid=ID]…",
)
ldap = Factory(
    "ldap",
    "Passwords of an LDAP directory, over TLS.",
    "host=NAME:base=DN[:tls=starttls|ldaps][:ca=FILE]…",
)
