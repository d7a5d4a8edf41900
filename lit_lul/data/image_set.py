"""Labelled images of one size, grouped by class."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, with the rows of each class together.

    Attributes:
        images: uint8, (n, channels, side, side), 0 to 255, sorted by class.
        class_start: int64, (n_classes + 1,); class c's rows are class_start[c]:class_start[c + 1].
        class_names: one name per class.
    """

    images: Tensor
    class_start: Tensor
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """The number of colour channels: 1 for grey, 3 for colour."""
        return self.images.shape[1]

    @property
    def side(self) -> int:
        """The images' height and width, in pixels."""
        return self.images.shape[2]

    @property
    def inputs(self) -> int:
        """N_0 of base models for these images."""
        return self.channels * self.side**2

    @property
    def class_sizes(self) -> Tensor:
        """The number of images in each class: int64, (n_classes,)."""
        return self.class_start.diff()
