"""Labelled images of one size, in memory."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one size, sorted by class."""

    images: Tensor
    """uint8, (n, channels, side, side), values 0 to 255."""
    class_start: Tensor
    """int64, (n_classes + 1,); class c's rows are class_start[c]:class_start[c + 1]."""
    class_names: tuple[str, ...]
    """One name per class."""

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
        """N_0, the number of inputs of networks for these images: channels · side²."""
        return self.channels * self.side**2

    @property
    def class_sizes(self) -> Tensor:
        """The number of images in each class: int64, (n_classes,)."""
        return self.class_start.diff()
