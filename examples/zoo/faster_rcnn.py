"""Faster R-CNN with a ResNet-50 and a feature pyramid in Flax Linen (Ren et al., arXiv 1506.01497; Lin et al., arXiv 1612.03144).

A network over all maps of the pyramid proposes boxes; RoIAlign reads the features in each; two dense layers of 1024 classify and
refine it. Shaped like torchvision's `fasterrcnn_resnet50_fpn`, 42 million parameters.

Dynamic: the batch, height and width, multiples of 32 (to which torchvision pads). How many boxes non-maximum suppression leaves
depends on the data; here it is left out, and the 300 best proposals and 100 best detections are taken as they are.
1,306 eqns; DNNFusion counts 3,640 layers (Table 5).
"""

from __future__ import annotations

import flax.linen as nn
import numpy as np

from sod2jax import bench
from zoo.layers.detection import BoxHead, FeaturePyramid, ProposalNetwork, detector_weights


class FasterRCNN(nn.Module):
    backbone: FeaturePyramid
    propose: ProposalNetwork
    detect: BoxHead

    def __call__(self, image):
        """image f32[b, h, w, 3] -> boxes f32[b, n, 4] in corners, scores f32[b, n], labels i32[b, n]; n detections"""
        _, height, width, _ = image.shape
        pyramid = self.backbone(image)
        return self.detect(pyramid, self.propose(pyramid, height, width), height, width)


def parts(small: bool = False):
    if small:
        pyramid = FeaturePyramid(stages=(1, 1, 1, 1), filters=4, channels=16)
        return pyramid, ProposalNetwork(proposals=24), BoxHead(classes=5, hidden=32, detections=8)
    return FeaturePyramid(), ProposalNetwork(), BoxHead()


def build(small: bool = False):
    """(model, its seeded random parameters and statistics). `small` is for tests."""
    model = FasterRCNN(*parts(small))
    return model, detector_weights(model)


def workload(small: bool = False) -> bench.Workload:
    model, _ = build(small)
    low, high = (64, 128) if small else (256, 512)
    sizes = range(low, high + 1, 32)
    return bench.Workload(
        name="Faster R-CNN",
        fun=model.apply,
        params=lambda: build(small)[1],
        inputs=lambda rng, b, h, w: (rng.standard_normal((b, h, w, 3), dtype=np.float32),),
        shapes=("b, h, w, 3",),
        constraints=("1 <= b <= 8", "h % 32 == 0", "w % 32 == 0", f"{low} <= h <= {high}", f"{low} <= w <= {high}"),
        steady=[{"b": 1, "h": h, "w": w} for h, w in ((low, low), (low, high), (high - 32, high))],
        trace=bench.sample(4 if small else 12, b=1, h=sizes, w=sizes),
        tolerance=1e-3,  # a box that is rounded differently reads its features a little aside
        layers={"DNNFusion Table 5": 3640},
    )
