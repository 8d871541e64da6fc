"""Numbers and pictures for TensorBoard, without TensorFlow."""

import functools
import io
import time

from keras_ncsn.images import make_grid, to_pil


class TensorBoardLog:
    """Writes event files that TensorBoard shows, from the first number on.

    Args:
        folder: Path of the folder to write to, and to give to
            `tensorboard --logdir`.
        start: Integer, the step that writing goes on from: TensorBoard no
            longer shows what an earlier run wrote of later steps. Defaults to
            `0`.
    """

    def __init__(self, folder, start=0):
        try:
            # Here, because only who wants them has TensorBoard.
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer import event_file_writer
        except ImportError:
            raise ImportError(
                "Logs for TensorBoard need the package of that name. Install "
                "it: pip install tensorboard"
            ) from None
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._make_writer = event_file_writer.EventFileWriter
        self.folder = folder
        self.start = start

    @functools.cached_property
    def _writer(self):
        writer = self._make_writer(str(self.folder))
        # Orphans begin with the first step after `start`.
        writer.add_event(
            self._event(
                wall_time=time.time(),
                step=self.start + 1,
                session_log=self._session,
            )
        )
        return writer

    def add_row(self, row):
        """Writes the numbers of a row of the log, each a curve of its own.

        Args:
            row: Dictionary from names to numbers, among them `step`.
        """
        self._add(
            row["step"],
            [
                self._summary.Value(tag=name, simple_value=number)
                for name, number in row.items()
                if name != "step"
            ],
        )

    def add_images(self, step, images, name="samples"):
        """Writes images as one picture, side by side.

        Args:
            step: Integer, when they were made.
            images: Float array of shape
                `(num_images, height, width, channels)`, in [0, 1].
            name: String. Defaults to `"samples"`.
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
