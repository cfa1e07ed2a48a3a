"""Faster R-CNN with a ResNet-50 and a feature pyramid in Flax Linen (Ren et al., arXiv 1506.01497; Lin et al., arXiv 1612.03144).

A network over all maps of the pyramid proposes boxes; RoIAlign reads the features in each; two dense layers of 1024 classify and
refine it. Shaped like torchvision's `fasterrcnn_resnet50_fpn`, 42 million parameters.

Dynamic: the batch, height and width, multiples of 32 (to which torchvision pads). How many boxes non-maximum suppression leaves
depends on the data; here it is left out, and the 300 best proposals and 100 best detections are taken as they are.
1,306 eqns; DNNFusion counts 3,640 layers (Table 5).
"""

from __future__ import annotations

import flax.linen as nn

from sod2jax import bench
from zoo.layers.detection import BoxHead, FeaturePyramid, ProposalNetwork, detection_workload, detector_weights


class FasterRCNN(nn.Module):
    backbone: FeaturePyramid
    propose: ProposalNetwork
    detect: BoxHead

    def __call__(self, image):
        """image f32[b, h, w, 3] -> boxes f32[b, n, 4] in corners, scores f32[b, n], labels i32[b, n]; n detections"""
        return self.detections(image)[1]

    def detections(self, image):
        """The pyramid of features, and what `__call__` gives."""
        _, height, width, _ = image.shape
        pyramid = self.backbone(image)
        return pyramid, self.detect(pyramid, self.propose(pyramid, height, width), height, width)


def parts(small: bool):
    if small:
        pyramid = FeaturePyramid(stages=(1, 1, 1, 1), filters=4, channels=16)
        return pyramid, ProposalNetwork(proposals=24), BoxHead(classes=5, hidden=32, detections=8)
    return FeaturePyramid(), ProposalNetwork(), BoxHead()


def rcnn_workload(name: str, model: nn.Module, small: bool, layers: dict[str, int]) -> bench.Workload:
    low, high = (64, 128) if small else (256, 512)
    return detection_workload(
        name,
        model,
        small,
        limits=(low, high),
        steady=((low, low), (low, high), (high - 32, high)),
        weights=detector_weights,
        tolerance=1e-3,  # a box that is rounded differently reads its features a little aside
        layers=layers,
    )


def workload(small: bool = False) -> bench.Workload:
    return rcnn_workload("Faster R-CNN", FasterRCNN(*parts(small)), small, layers={"DNNFusion Table 5": 3640})
