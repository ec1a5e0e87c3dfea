"""The commands of `func` and `azd` that our pages may use.

Neither program can be had without its vendor's download servers, so these are tables, from their sources: Azure
Functions Core Tools 4.14 and azd 1.2x. They catch slips, and do not know what changed since.
"""

# Command: how many names follow at most, options that take a value, options that do not.
FUNC = {
    "--version": (0, (), ()),
    "start": (
        0,
        ("--port", "-p", "--timeout", "-t", "--cors", "--functions", "--cert", "--password", "--language-worker"),
        ("--cors-credentials", "--useHttps", "--enableAuth", "--no-build", "--verbose", "--custom"),
    ),
    "azure functionapp publish": (
        1,
        ("--slot", "--subscription", "--access-token"),
        ("--no-build", "--custom", "--force", "--publish-local-settings", "-i", "--publish-settings-only", "-o",
         "--overwrite-settings", "-y", "--list-included-files", "--list-ignored-files", "--show-keys"),
    ),
    "azure functionapp fetch-app-settings": (1, ("--slot", "--subscription"), ()),
    "azure functionapp list-functions": (1, ("--slot", "--subscription"), ("--show-keys",)),
    "azure functionapp logstream": (1, ("--slot", "--subscription"), ("--browser",)),
    "pack": (0, ("--output", "-o"), ("--no-build",)),
}  # fmt: skip

AZD = {
    "auth login": (
        0,
        ("--client-id", "--tenant-id", "--federated-credential-provider", "--client-certificate", "--redirect-port"),
        ("--use-device-code", "--check-status", "--managed-identity"),
    ),
    "auth logout": (0, (), ()),
    "config set": (2, (), ()),
    "deploy": (1, ("--from-package",), ("--all",)),
    "down": (0, (), ("--force", "--purge")),
    "env get-value": (1, (), ()),
    "env get-values": (0, (), ()),
    "env list": (0, (), ()),
    "env new": (1, ("--location", "-l", "--subscription"), ()),
    "env refresh": (1, ("--hint",), ()),
    "env select": (1, (), ()),
    "env set": (2, (), ()),
    "hooks run": (1, ("--service",), ()),
    "init": (0, ("--template", "-t", "--branch", "-b", "--location", "-l", "--subscription", "-s"), ("--minimal",)),
    "monitor": (0, (), ("--live", "--logs", "--overview")),
    "package": (1, ("--output-path",), ("--all",)),
    "pipeline config": (
        0,
        ("--auth-type", "--provider", "--principal-name", "--principal-id", "--remote-name"),
        (),
    ),
    "provision": (0, ("--subscription", "--location", "-l"), ("--no-state", "--preview")),
    "show": (0, (), ()),
    "up": (0, ("--subscription", "--location", "-l"), ()),
    "version": (0, (), ()),
}
AZD_EVERYWHERE = (("--environment", "-e", "--cwd", "-C", "--output", "-o"), ("--debug", "--no-prompt", "--help", "-h"))


def message(table: dict, everywhere: tuple, arguments: tuple) -> str | None:
    """What is wrong with the arguments by a table, or None."""
    words = list(arguments)
    names = [name for name in table if words[: len(name.split())] == name.split()]
    if not names:
        return f"no such command is known here: {' '.join(words[:3])}"
    name = max(names, key=len)
    most, with_value, without = table[name]
    rest, values = words[len(name.split()) :], 0
    while rest:
        word = rest.pop(0)
        option, equals, _ = word.partition("=")
        if not word.startswith("-"):
            values += 1
        elif option in with_value + everywhere[0]:
            if not equals and not rest:
                return f"{option} lacks its value"
            rest = rest if equals else rest[1:]
        elif word not in without + everywhere[1]:
            return f"'{name}' has no option {option}"
    return f"'{name}' takes {most} names at most" if values > most else None
