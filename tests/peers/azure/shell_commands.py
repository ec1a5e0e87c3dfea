"""Finds the commands `az`, `azd` and `func` where people read or run them, with tree-sitter's grammar of bash."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import ruamel.yaml
import tree_sitter
import tree_sitter_bash

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))
PROGRAMS = ("az", "azd", "func")
# What stands for a value that only the reader, or the run, knows.
VALUE = "value"
# Where an author left something out.
ELLIPSIS = "…"


@dataclass(frozen=True)
class Command:
    """One command. `partial`: it may leave something out, as in a sentence."""

    path: str
    line: int
    program: str
    arguments: tuple
    partial: bool = False

    def __str__(self):
        return f"{self.path}:{self.line}: {self.program} {' '.join(self.arguments)}"


def commands(root: Path) -> list[Command]:
    """All commands in the pages, the hooks, the workflows and the comments of the templates."""
    found = []
    for path in [root / "README.md", *sorted(root.glob("docs/*.md")), *sorted(root.glob("infra/**/*.md"))]:
        if path.is_file():
            found += _page(str(path.relative_to(root)), path.read_text())
    for path in sorted(root.glob("infra/**/*.sh")):
        found += in_script(str(path.relative_to(root)), path.read_text())
    for path in sorted(root.glob("infra/**/*.bicep")):
        found += _comments(str(path.relative_to(root)), path.read_text())
    for path in sorted(root.glob(".github/workflows/*.y*ml")):
        found += _workflow(str(path.relative_to(root)), path.read_text())
    return found


def in_script(path: str, text: str, first_line: int = 1) -> list[Command]:
    """The commands of a script. `<name>` and `${{ … }}` stand for values."""
    text = re.sub(r"\$\{\{.*?\}\}", VALUE, text)
    text = re.sub(r"<[A-Za-z][^<>\n]*>", VALUE, text).encode()
    tree = _PARSER.parse(text)
    found = []
    for node in _walk(tree.root_node):
        if node.type == "command" and node.child_by_field_name("name") is not None:
            words = [_word(child, text) for child in node.named_children if child.type != "variable_assignment"]
            if words and words[0] in PROGRAMS:
                given = tuple(word for word in words[1:] if word not in (ELLIPSIS, None))
                partial = len(given) < len(words) - 1
                found.append(Command(path, first_line + node.start_point[0], words[0], given, partial))
    return found


def _walk(node):
    yield node
    for child in node.named_children:
        yield from _walk(child)


def _word(node, source):
    """What a word of a command says; None for words whose number is unknown."""
    text = source[node.start_byte : node.end_byte].decode()
    if node.type == "raw_string":
        return text[1:-1]
    if node.type == "concatenation":
        return "".join(_word(child, source) or VALUE for child in node.named_children)
    if re.search(r"\$\{[A-Za-z_]+\[@\]", text):
        return None
    if node.type == "string":
        return re.sub(r"\$(\{[^}]*\}|\w+|\(.*?\))", VALUE, text[1:-1], flags=re.DOTALL)
    if node.type in ("simple_expansion", "expansion", "command_substitution"):
        return VALUE
    return text.replace("\\\n", "")


def _page(path, text):
    """Blocks of shell, and commands inside a sentence."""
    found, block, fence = [], None, None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*```(\w*)", line)
        if mark and block is None and fence is None:
            block, fence = ([], number + 1) if mark[1] in ("sh", "bash", "shell") else (None, mark[1] or "text")
        elif mark:
            if block is not None:
                found += in_script(path, "\n".join(block), fence)
            block, fence = None, None
        elif block is not None:
            block.append(line)
    return found + _sentences(path, text)


def _sentences(path, text):
    found = []
    blocks = re.compile(r"^\s*```.*?^\s*```\s*$", re.MULTILINE | re.DOTALL)
    prose = blocks.sub(lambda block: re.sub(r"[^\n]", " ", block.group()), text)
    for span in re.finditer(r"`((?:az|azd|func) [^`]+)`", prose):
        line = prose[: span.start()].count("\n") + 1
        found += [replace(one, partial=True) for one in in_script(path, " ".join(span[1].split()), line)]
    return [one for one in found if one.arguments]


def _comments(path, text):
    """Comments that are set off like code: `//   az …`."""
    code = re.compile(r"\s*//(?: {3}(.*))?$")
    lines = [(code.match(line) or {1: ""})[1] or "" for line in text.splitlines()]
    return in_script(path, "\n".join(lines))


def _workflow(path, text):
    found = []
    content = ruamel.yaml.YAML().load(text) or {}
    for job in (content.get("jobs") or {}).values():
        for step in job.get("steps") or []:
            if "run" in step:
                # A block of lines begins under its key.
                below = 2 if "\n" in step["run"] else 1
                found += in_script(path, step["run"], step.lc.key("run")[0] + below)
    return found
