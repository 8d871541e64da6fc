"""The log that TensorBoard shows."""

from tensorboard.backend.event_processing import event_accumulator

from keras_ncsn.callbacks.tensorboard_log import TensorBoardLog


def test_tensorboard_drops_events_of_repeated_steps(tmp_path):
    TensorBoardLog(tmp_path).add_row({"step": 2, "loss": 1.0})
    log = TensorBoardLog(tmp_path)
    for step in (2, 4, 6):
        log.add_row({"step": step, "loss": float(step)})
    TensorBoardLog(tmp_path, start=3).add_row({"step": 4, "loss": 9.0})
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    assert shown == [(2, 2.0), (4, 9.0)]
