"""Mask R-CNN in Flax Linen (He et al., arXiv 1703.06870): Faster R-CNN, and a mask of 28 x 28 for each of the 100 detections.

Four convolutions and a deconvolution over the features that RoIAlign reads in each detected box give a mask for every class; that
of the detected class is kept. Shaped like torchvision's `maskrcnn_resnet50_fpn`, 44 million parameters.

Dynamic: the batch, height and width, as in `faster_rcnn`, which also says what stands for non-maximum suppression.
1,582 eqns; DNNFusion counts 3,999 layers (Table 5).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from sod2jax import bench
from zoo.faster_rcnn import FasterRCNN, parts, rcnn_workload
from zoo.layers.detection import roi_align


class MaskHead(nn.Module):
    classes: int = 91

    @nn.compact
    def __call__(self, pyramid, boxes, labels):
        """-> masks f32[b, n, 28, 28] of boxes f32[b, n, 4] with labels i32[b, n]"""
        channels = pyramid[0].shape[-1]
        x = jax.vmap(lambda maps, boxes: roi_align(maps, boxes, 14))(pyramid[:4], boxes)
        for _ in range(4):
            x = nn.relu(nn.Conv(channels, (3, 3))(x))
        x = nn.relu(nn.ConvTranspose(channels, (2, 2), (2, 2), padding="VALID")(x))
        masks = nn.Conv(self.classes, (1, 1), name="masks")(x)
        return nn.sigmoid(jnp.take_along_axis(masks, labels[..., None, None, None], axis=-1)[..., 0])


class MaskRCNN(FasterRCNN):
    mask: MaskHead

    def __call__(self, image):
        """image f32[b, h, w, 3] -> boxes f32[b, n, 4], scores f32[b, n], labels i32[b, n], masks f32[b, n, 28, 28]"""
        pyramid, (boxes, scores, labels) = self.detections(image)
        return boxes, scores, labels, self.mask(pyramid, boxes, labels)


def workload(small: bool = False) -> bench.Workload:
    backbone, propose, detect = parts(small)
    model = MaskRCNN(backbone, propose, detect, MaskHead(detect.classes))
    return rcnn_workload("Mask R-CNN", model, small, layers={"DNNFusion Table 5": 3999})
