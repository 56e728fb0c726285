"""Files that are decoded to samples whenever these are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, UsageError
from snn_compile.files.documents import (
    DAMAGE,
    DamagedError,
    TooLargeError,
    check_size,
    describe_error,
    open_regular,
    too_large,
)
from snn_compile.ir.graph import Shape
from snn_compile.samples.readers.content import complaint, raise_some
from snn_compile.samples.rows import Index, indices

_FILE_LIMIT = 1 << 30


class UnusableError(DamagedError):
    """A file in order that the network, or the recipe, has no use for.

    Attributes:
        code: of the user-facing error.
        hint: the action to take.
    """

    code, hint = "unreadable-data", ""


class Decoder(Protocol):
    """From the content of a file to the values that the network takes."""

    @property
    def shape(self) -> Shape:
        """Of the values."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        ...

    def __call__(self, stream: BinaryIO) -> npt.NDArray[Any]:
        """The values.

        Raises:
            UnusableError: they are none for this network.
            DamagedError: the file is damaged.
        """
        ...


@dataclass(frozen=True, eq=False)
class DecodedRows:
    """A sample for each file, or each part of one; decoded whenever it is asked for.

    Attributes:
        n: number of samples.
        opened: opens the content of the sample of a number.
        name: of the sample of a number, for errors.
        decoder: makes values of it.
        what: samples are, in the plural.
    """

    n: int
    opened: Callable[[int], BinaryIO]
    name: Callable[[int], str]
    decoder: Decoder
    what: str

    @staticmethod
    def of_files(files: Sequence[Path], decoder: Decoder, what: str) -> DecodedRows:
        """A sample for each file."""

        def opened(k: int) -> BinaryIO:
            stream = open_regular(files[k])
            check_size("the file", files[k].stat().st_size, _FILE_LIMIT)
            return stream

        return DecodedRows(len(files), opened, lambda k: str(files[k]), decoder, what)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of ``Rows``."""
        return (self.n, *self.decoder.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of ``Rows``."""
        return self.decoder.dtype

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Index, /) -> npt.NDArray[Any]:
        listed = indices(index, self.n)
        found = np.empty((len(listed), *self.decoder.shape), self.dtype)
        for place, k in enumerate(listed):
            found[place] = self._decoded(int(k))
        return found

    def _decoded(self, k: int) -> npt.NDArray[Any]:
        name = self.name(k)
        try:
            with self.opened(k) as stream:
                return self.decoder(stream)
        except TooLargeError as error:
            raise too_large(name, error) from error
        except UnusableError as error:
            raise complaint(name, str(error), error.code, error.hint) from error
        except DAMAGE as error:
            message = f"cannot be decoded ({describe_error(error)})"
            hint = "remove or repair the file"
            raise complaint(name, message, "unreadable-data", hint) from error

    def check(
        self,
        chosen: Sequence[int],
        where: Path,
        read: Callable[[int], npt.NDArray[Any]] | None = None,
    ) -> None:
        """Decode some samples once.

        Args:
            chosen: their numbers.
            where: the data set.
            read: decodes one and keeps it; None leaves nothing behind.

        Raises:
            UsageError: some cannot be used; all of them, or the first ones and their number.
        """
        errors: list[CompileError] = []
        for k in chosen:
            try:
                (read or self._decoded)(k)
            except UsageError as error:
                errors.append(error)
        raise_some(errors, where, self.what)
