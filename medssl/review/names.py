"""What the files of a review folder are called."""

import json
import re
from pathlib import Path

from medssl import __version__
from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.review.kinds import KINDS, ReviewKind


class ReviewNames:
    """File names of a review folder, flat or as BIDS derivatives.

    Args:
        folder: the folder.
        bids: name files as BIDS derivatives; the subject is the case's name without other than letters and
            digits.
        kind: what is reviewed; by default scans.
    """

    def __init__(self, folder: str | Path, *, bids: bool = False, kind: ReviewKind = KINDS[3]) -> None:
        self.folder, self.bids, self.kind = Path(folder), bids, kind
        self._forms = kind.bids if bids else kind.flat

    def path(self, kind: str, case: str, *, label: int | None = None) -> Path:
        """The file of a kind (a key of :attr:`ReviewKind.flat`) and a case."""
        form = self._forms[kind]
        return self.folder / form.format(case=case, subject=subject_of(case), label=label)

    def of(self, case: str) -> dict[str, Path]:
        """All files of a case that are not one a class, by their kind."""
        return {kind: self.path(kind, case) for kind, form in self._forms.items() if "{label}" not in form}

    def check(self, cases: list[str]) -> None:
        """Refuse cases whose files would have one name, or lie outside the folder.

        Raises:
            InputError: with the two cases.
        """
        taken: dict[Path, str] = {}
        for case in cases:
            path = self.path("side-car", case)
            if "/" in case or "\\" in case or case in (".", "..") or (self.bids and not subject_of(case)):
                raise InputError(f"case {case!r}", "cannot name a file", "rename the case")
            if path in taken:
                raise InputError(
                    f"cases {taken[path]!r} and {case!r}", f"would both be {path.name}", "rename one of them"
                )
            taken[path] = case

    def describe(self) -> None:
        """Write ``dataset_description.json`` where files are named as BIDS derivatives."""
        if self.bids:
            content = {
                "Name": "medssl segmentations",
                "BIDSVersion": "1.10.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "medssl", "Version": __version__}],
            }
            write_text(self.folder / "dataset_description.json", json.dumps(content, indent=2) + "\n")


def subject_of(case: str) -> str:
    """A case's name with letters and digits alone; a ``sub-`` in front is not doubled."""
    return re.sub(r"[^A-Za-z0-9]", "", case.removeprefix("sub-"))
