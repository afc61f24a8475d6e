"""IRN's pairs, losses, walk and detections as in their formulas: in loops, dense, and in double precision.

They share no code with the package.
"""

import math

import cv2
import numpy as np
import skimage.measure


def path(dy, dx):
    """Cells whose centre is less than 1 from the line between two cells, in the box around both."""
    return [
        (y, x)
        for y in range(min(0, dy), max(0, dy) + 1)
        for x in range(min(0, dx), max(0, dx) + 1)
        if (dy * x - dx * y) ** 2 / (dy * dy + dx * dx) < 1
    ]


def near(radius):
    """All (dy, dx) of a cell's neighbours, in both senses."""
    side = range(1 - radius, radius)
    return [(dy, dx) for dy in side for dx in side if 0 < dy * dy + dx * dx < radius * radius]


def affinity(edge, y, x, dy, dx):
    return 1 - max(edge[y + py, x + px] for py, px in path(dy, dx))


def pairs(size, radius):
    """(y, x, dy, dx) of every pair that the losses count."""
    height, width = size
    for y in range(height - radius + 1):
        for x in range(radius - 1, width - radius + 1):
            for dy, dx in near(radius):
                if dy > 0 or (dy == 0 and dx > 0):
                    yield y, x, dy, dx


def mean(values, count=None):
    return math.fsum(values) / ((len(values) if count is None else count) + 1e-5)


def affinity_displacement(logits, displacement, labels, radius):
    """The four losses of a batch (B, h, w), (B, 2, h, w), (B, h, w)."""
    edges = 1 / (1 + np.exp(-logits))
    found = {name: [] for name in ("bg", "fg", "other", "bg_moved", "fg_moved")}
    for edge, moved, label in zip(edges, displacement, labels, strict=True):
        for y, x, dy, dx in pairs(edge.shape, radius):
            one, two = label[y, x], label[y + dy, x + dx]
            if one == 255 or two == 255:
                continue
            a = affinity(edge, y, x, dy, dx)
            apart = moved[:, y, x] - moved[:, y + dy, x + dx]
            if one != two:
                found["other"].append(-math.log(1 + 1e-5 - a))
            elif one == 0:
                found["bg"].append(-math.log(a + 1e-5))
                found["bg_moved"] += list(np.abs(apart))
            else:
                found["fg"].append(-math.log(a + 1e-5))
                found["fg_moved"] += list(np.abs(apart - [dy, dx]))
    return {
        "positive": mean(found["bg"]) / 2 + mean(found["fg"]) / 2,
        "negative": mean(found["other"]),
        "foreground": mean(found["fg_moved"]),
        "background": mean(found["bg_moved"]),
    }


def derivative(values, axis):
    return np.zeros_like(values) if values.shape[axis] == 1 else np.gradient(values, axis=axis)


def flow_boundary(logits, flow, radius, *, lam=2.0, components=2, factor=1.0, signal="gradient", valid=None):
    """The mean over the pairs of a batch (B, h, w), (B, 2, h, w)."""
    edges, costs = 1 / (1 + np.exp(-logits)), []
    for b, edge in enumerate(edges):
        u, v = factor * flow[b]
        told = [derivative(u, 1), derivative(v, 0)]
        if components == 4:
            told += [derivative(u, 0), derivative(v, 1)]
        told = np.stack([u, v] if signal == "flow" else told)
        for y, x, dy, dx in pairs(edge.shape, radius):
            if valid is not None and not (valid[b, y, x] and valid[b, y + dy, x + dx]):
                continue
            a = affinity(edge, y, x, dy, dx)
            apart = np.linalg.norm(told[:, y, x] - told[:, y + dy, x + dx])
            costs.append(apart * a + lam * abs(1 - a))
    return math.fsum(costs) / max(1, len(costs))


def walk(maps, edge, radius=5, beta=10, exp_times=8):
    """Dense: (N, h, w), (h, w) -> (N, h, w)."""
    height, width = edge.shape
    weights = np.eye(height * width)
    for y, x in np.ndindex(height, width):
        for dy, dx in near(radius):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                weight = affinity(edge, y, x, dy, dx) ** beta
                weights[y * width + x, (y + dy) * width + x + dx] = weight
    matrix = np.linalg.matrix_power(weights / weights.sum(0), 2**exp_times)
    return ((maps * (1 - edge)).reshape(len(maps), -1) @ matrix).reshape(maps.shape)


def centroids(displacement, iterations):
    """Cell by cell."""
    (height, width), ends = displacement.shape[1:], np.zeros(displacement.shape, int)
    for start in np.ndindex(height, width):
        y, x = map(float, start)
        for _ in range(iterations):
            corners = [
                (yy, xx) for yy in (math.floor(y), math.ceil(y)) for xx in (math.floor(x), math.ceil(x))
            ]
            fy, fx = y - math.floor(y), x - math.floor(x)
            shares = [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx]
            dy, dx = sum(s * displacement[:, yy, xx] for s, (yy, xx) in zip(shares, corners, strict=True))
            y, x = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
        ends[:, start[0], start[1]] = round(y), round(x)
    return ends


def detections(cams, clusters, edge, size, background=0.25, min_share=0.01, normalise="image"):
    """All maps at once, as the public code: masks, classes, scores."""
    numbers = np.unique(clusters)
    walked = walk(np.stack([cam * (clusters == i) for cam in cams for i in numbers]), edge)
    height, width = edge.shape
    large = [cv2.resize(each, (4 * width, 4 * height), interpolation=cv2.INTER_LINEAR) for each in walked]
    large = np.stack(large)[:, : size[0], : size[1]]
    large /= large.max() if normalise == "image" else np.maximum(large.max((1, 2), keepdims=True), 1e-300)
    shape = np.concatenate([np.full((1, *size), background), large]).argmax(0)
    found = []
    for i, each in enumerate(large):
        components = skimage.measure.label(shape == i + 1, connectivity=1, background=0)
        for number in range(1, components.max() + 1):
            mask = components == number
            score = 0 if mask.sum() < min_share * size[0] * size[1] else (each * mask).max()
            found.append((mask, i // len(numbers), score))
    return tuple(map(np.array, zip(*found, strict=True)))
