"""Numbers and pictures for TensorBoard, without TensorFlow."""

import functools
import io
import time
from typing import Any

import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import check_no_links
from keras_ncsn.images import make_grid, to_pil


class TensorBoardLog:
    """Writes event files for TensorBoard.

    The first value creates the file.

    Args:
        folder: Path of the folder to write to, the argument of
            `tensorboard --logdir`.
        start: Integer, the step from which a run resumes. TensorBoard then
            hides values of later steps that were written earlier. Defaults to
            `0`.
    """

    def __init__(self, folder: StrPath, start: int = 0) -> None:
        try:
            # TensorBoard is an optional dependency.
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer import event_file_writer
        except ImportError:
            raise ImportError(
                "Logs for TensorBoard need the package `tensorboard`. Install "
                "it: pip install tensorboard"
            ) from None
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._make_writer = event_file_writer.EventFileWriter
        self.folder = folder
        self.start = start

    @functools.cached_property
    def _writer(self) -> Any:
        # TensorBoard opens what has the name of its next file.
        check_no_links(self.folder)
        writer = self._make_writer(str(self.folder))
        # TensorBoard drops earlier values from this step on.
        writer.add_event(
            self._event(
                wall_time=time.time(),
                step=self.start + 1,
                session_log=self._session,
            )
        )
        return writer

    def add_row(self, row: dict[str, float]) -> None:
        """Writes the numbers of a row of the log, one curve for each column.

        Args:
            row: Dictionary from names to numbers, including `step`.
        """
        self._add(
            row["step"],
            [
                self._summary.Value(tag=name, simple_value=number)
                for name, number in row.items()
                if name != "step"
            ],
        )

    def add_images(
        self, step: int, images: np.ndarray, name: str = "samples"
    ) -> None:
        """Writes images as one picture, side by side.

        Args:
            step: Integer, the step at which the images were generated.
            images: Float array of shape
                `(num_images, height, width, channels)`, in [0, 1].
            name: String, the title of the picture. Defaults to `"samples"`.
        """
        grid = make_grid(images)
        buffer = io.BytesIO()
        to_pil(grid).save(buffer, "PNG")
        picture = self._summary.Image(
            height=grid.shape[0],
            width=grid.shape[1],
            colorspace=grid.shape[2],
            encoded_image_string=buffer.getvalue(),
        )
        self._add(step, [self._summary.Value(tag=name, image=picture)])

    def _add(self, step, values):
        event = self._event(
            wall_time=time.time(),
            step=step,
            summary=self._summary(value=values),
        )
        self._writer.add_event(event)
        self._writer.flush()
