"""The directives of a configuration of nginx, by the blocks that they are in."""

import re
from dataclasses import dataclass, field

TOKEN = re.compile(r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{};]|[^\s{};"']+""")


@dataclass
class Block:
    """A block with its directives in their order; `words` are those before its brace."""

    words: str = ""
    directives: list[str] = field(default_factory=list)
    blocks: list["Block"] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """Of a directive all values that it has in this block itself."""
        return [one.removeprefix(f"{name} ") for one in self.directives if one.startswith(f"{name} ")]

    def named(self, words: str) -> list["Block"]:
        """The blocks inside this one that begin with these words."""
        return [one for one in self.blocks if one.words == words]

    def all(self) -> list["Block"]:
        """This block and all that are in it."""
        return [self, *(inner for one in self.blocks for inner in one.all())]


def parse(text: str) -> Block:
    """The whole file as a block without words."""
    open_blocks, words = [Block()], []
    for token in TOKEN.findall(text):
        if token.startswith("#"):
            continue
        if token == "{":
            block = Block(" ".join(words))
            open_blocks[-1].blocks.append(block)
            open_blocks.append(block)
        elif token == ";":
            open_blocks[-1].directives.append(" ".join(words))
        elif token == "}":
            open_blocks.pop()
        else:
            words.append(token)
            continue
        words = []
    return open_blocks[0]
