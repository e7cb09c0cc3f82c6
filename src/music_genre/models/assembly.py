"""Trained copies of an improved network as one model for whole clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def assemble(copies: Sequence[keras.Model], input_shape: tuple[int, ...], parts: int) -> keras.Model:
    """One model that averages the answers of all copies to all parts of a clip.

    Args:
        copies: each (n, any frames, n_mels) dB to (n, classes) probabilities.
        input_shape: (frames, n_mels) or (frames, n_mels, 1) of a whole clip.
        parts: equal stretches that a clip is cut into; frames left over at the end are not looked at.
    """
    from keras import Input, Model, layers

    frames, n_mels = input_shape[:2]
    length = frames // parts
    clip = Input(input_shape, name="mel_db")
    mel = layers.Reshape((frames, n_mels), name="mel")(clip) if len(input_shape) > 2 else clip
    stretches = [mel]
    if parts > 1:
        cuts = [(number * length, frames - (number + 1) * length) for number in range(parts)]
        stretches = [layers.Cropping1D(cut, name=f"part{number}")(mel) for number, cut in enumerate(cuts, start=1)]
    answers = []
    for number, copy in enumerate(copies, start=1):
        # Without an optimizer, which would be stored with the model: three times its weights.
        plain = Model.from_config(copy.get_config())
        plain.set_weights(copy.get_weights())
        plain.name = f"copy{number}"
        answers += [plain(stretch) for stretch in stretches]
    return Model(clip, layers.Average(name="genre")(answers) if len(answers) > 1 else answers[0], name="whole_clip")
