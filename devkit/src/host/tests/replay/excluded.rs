//! The vectors that the stand-in need not copy.

/// Reasons, each with the names of its vectors and their modes.
pub(super) const EXCLUDED: &[(&str, &[&str])] = &[
    (
        "The stand-in has no keys, so that developers and tests can read its state and run timers.",
        &[
            "admin /%61dmin/host/status, forward",
            "admin /%61dmin/host/status, proxy",
            "admin /ADMIN/host/status, forward",
            "admin /ADMIN/host/status, proxy",
            "admin /admin/host/status, forward",
            "admin /admin/host/status, proxy",
            "admin /graph/../admin/host/status, forward",
            "admin /graph/../admin/host/status, proxy",
            "admin POST /admin/functions/rotate-keys, forward",
            "admin POST /admin/functions/rotate-keys, proxy",
        ],
    ),
    (
        "No HTTP function of the project is in payload mode; identities and metadata of its requests are not modelled.",
        &[
            "route GET /LIT/cASE, forward",
            "route GET /LIT/cASE, proxy",
            "route GET /lit/Cas%65, forward",
            "route GET /lit/Cas%65, proxy",
            "route GET /lit/Case, forward",
            "route GET /lit/Case, proxy",
            "route GET /lit/Case/, forward",
            "route GET /lit/Case/, proxy",
            "route payload request, forward",
            "route payload request, proxy",
        ],
    ),
    ("The gateway never switches protocols, so upgrades are not modelled.", &["answer WebSocket, proxy"]),
    (
        "hyper, which serves the stand-in's clients, rejects control characters that the real host passes on.",
        &["malformed ['X: a\\x01b'], forward", "malformed ['X: a\\x01b'], proxy"],
    ),
];
