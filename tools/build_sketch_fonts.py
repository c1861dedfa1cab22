"""Makes the font files in src/seedgate/engines/sketch/fonts; run by hand, and only to change them.

    npm pack @fontsource/rubik@5.3.0 && tar xzf fontsource-rubik-5.3.0.tgz           # OFL-1.1
    apt-get download fonts-droid-fallback && dpkg-deb -x fonts-droid-fallback_*.deb deb  # Apache-2.0
    pip install fonttools brotli
    python tools/build_sketch_fonts.py package deb/usr/share/fonts-droid-fallback/truetype/DroidSansFallback.ttf

Rubik comes as one WOFF2 file per script: those that need no shaping are merged into one file per weight, Arabic keeps
its own. Of Droid Sans Fallback the variant with Hangul is taken (Han, kana and Hangul in one file); hinting, vertical
metrics and the blocks that Rubik covers are dropped. `coverage.txt` says which characters each family has.
"""

import sys
import tempfile
from pathlib import Path

from fontTools import subset
from fontTools.merge import Merger
from fontTools.ttLib import TTFont

FONTS = Path(__file__).parent.parent / "src/seedgate/engines/sketch/fonts"
WEIGHTS = {"500": "medium", "700": "bold"}
MERGED = ("latin", "latin-ext", "cyrillic", "cyrillic-ext", "hebrew")
DROPPED = ["DSIG", "hdmx", "VDMX", "LTSH", "vhea", "vmtx", "gasp", "meta", "STAT"]
FALLBACK_FROM = 0x2000
"""Below this Rubik has what can be typeset without a shaper for each script."""


def slim(font: TTFont, code_points: set[int], target: Path) -> None:
    options = subset.Options()
    options.hinting = False
    options.name_IDs = [0, 1, 2, 5, 13, 14]
    options.layout_features = ["*"]
    options.drop_tables += DROPPED
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=code_points)
    subsetter.subset(font)
    font.save(target)
    print(f"{target.name}: {len(font.getBestCmap())} characters, {target.stat().st_size} bytes")


def rubik(package: Path) -> None:
    for weight, name in WEIGHTS.items():
        with tempfile.TemporaryDirectory() as folder:
            parts = []
            for script in (*MERGED, "arabic"):
                font = TTFont(package / "files" / f"rubik-{script}-{weight}-normal.woff2")
                font.flavor = None
                parts.append(Path(folder, f"{script}.ttf"))
                font.save(parts[-1])
            merged = Merger().merge([str(part) for part in parts[:-1]])
            slim(merged, set(merged.getBestCmap()), FONTS / f"rubik-{name}.ttf")
            arabic = TTFont(parts[-1])
            slim(arabic, set(arabic.getBestCmap()), FONTS / f"rubik-arabic-{name}.ttf")
    (FONTS / "LICENSE.rubik").write_bytes((package / "LICENSE").read_bytes())


def droid(path: Path) -> None:
    font = TTFont(path)
    slim(font, {code for code in font.getBestCmap() if code >= FALLBACK_FROM}, FONTS / "droid-fallback.ttf")


def coverage() -> None:
    """Which characters each family has, as runs, so that the engine need not read font tables."""
    lines = []
    for family, name in {"rubik": "rubik-bold", "rubik-arabic": "rubik-arabic-bold"}.items():
        lines.append((family, set(TTFont(FONTS / f"{name}.ttf").getBestCmap())))
    lines.append(("droid-fallback", set(TTFont(FONTS / "droid-fallback.ttf").getBestCmap())))
    text = "".join(f"{family} {' '.join(runs(codes))}\n" for family, codes in lines)
    (FONTS / "coverage.txt").write_text(text)


def runs(codes: set[int]) -> list[str]:
    firsts = sorted(code for code in codes if code - 1 not in codes)
    lasts = sorted(code for code in codes if code + 1 not in codes)
    return [f"{first:x}-{last:x}" for first, last in zip(firsts, lasts, strict=True)]


if __name__ == "__main__":
    FONTS.mkdir(parents=True, exist_ok=True)
    rubik(Path(sys.argv[1]))
    droid(Path(sys.argv[2]))
    coverage()
