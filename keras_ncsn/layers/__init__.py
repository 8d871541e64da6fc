from keras_ncsn.layers.convolution import convolution as convolution
from keras_ncsn.layers.normalization import (
    InstanceNormalizationPlus as InstanceNormalizationPlus,
)
from keras_ncsn.layers.refinement import (
    ChainedResidualPooling as ChainedResidualPooling,
)
from keras_ncsn.layers.refinement import (
    MultiResolutionFusion as MultiResolutionFusion,
)
from keras_ncsn.layers.refinement import (
    RefineBlock as RefineBlock,
)
from keras_ncsn.layers.refinement import (
    ResidualConvUnit as ResidualConvUnit,
)
from keras_ncsn.layers.residual import ResidualBlock as ResidualBlock
