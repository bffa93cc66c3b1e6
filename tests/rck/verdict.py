"""Reads the kit's JUnit reports: verdict.py FOLDER PASSED SKIPPED. Fails unless exactly so many passed and were skipped."""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def main(folder: str, wanted_passed: int, wanted_skipped: int) -> int:
    cases = [case for file in Path(folder).glob("*.xml") for case in xml.parse(file).getroot().iter("testcase")]
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    passed = len(cases) - len(failed) - len(skipped)
    for case in failed:
        print("FAILED", case.get("name"))
    for case in skipped:
        print("skipped", case.get("name"))
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 0 if (passed, len(failed), len(skipped)) == (wanted_passed, 0, wanted_skipped) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
