"""What an annotator owes: somebody else's model, seen from outside."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medssl.annotators.folder import ImageFiles


class Annotator(Protocol):
    """A model that nobody trains here: an image in, probabilities of the user's classes out.

    Attributes:
        classes: names of the ``K`` classes.
        axes: of what it annotates: 2 for images, 3 for volumes.
        record: what decides its maps, as plain data: model, weights, prompts. A folder of maps is continued
            only by an annotator of the same record.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """See above."""

    @property
    def axes(self) -> int:
        """See above."""

    @property
    def record(self) -> Mapping[str, Any]:
        """See above."""

    def annotate(self, image: ImageFiles) -> NDArray[np.float32]:
        """Annotate one image.

        Args:
            image: its file, or files.

        Returns:
            ``(K, *S)`` probabilities that sum to one. Of an image the grid may be coarser than its pixels,
            and covers the same field of view; of a volume they are the voxels of the file, in its order.

        Raises:
            InputError: the image cannot be read, or is none of the kind that the model is for.
        """
