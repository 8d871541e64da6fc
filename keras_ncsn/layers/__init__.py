from keras_ncsn.layers.attention import PixelAttention as PixelAttention
from keras_ncsn.layers.condition_embedding import (
    ConditionEmbedding as ConditionEmbedding,
)
from keras_ncsn.layers.fusion import (
    MultiResolutionFusion as MultiResolutionFusion,
)
from keras_ncsn.layers.group_normalization import (
    ModulatedGroupNormalization as ModulatedGroupNormalization,
)
from keras_ncsn.layers.normalization import (
    InstanceNormalizationPlus as InstanceNormalizationPlus,
)
from keras_ncsn.layers.pooling import (
    ChainedResidualPooling as ChainedResidualPooling,
)
from keras_ncsn.layers.refinement import RefineBlock as RefineBlock
from keras_ncsn.layers.residual import ResidualBlock as ResidualBlock
from keras_ncsn.layers.residual_unit import (
    ResidualConvUnit as ResidualConvUnit,
)
