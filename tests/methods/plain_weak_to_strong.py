"""FixMatch, UniMatch, UniMatch V2 and RankMatch once more, step by step on plain tensors and with loops.

Written from the equations; nothing of medssl is used but the network's own encoder and decoder.
"""

import itertools

import torch
from torch.nn import functional as F


def labeled_loss(logits, labels):
    known = labels != 255
    return F.cross_entropy(logits.permute(0, *range(2, logits.ndim), 1)[known], labels[known])


def judged(logits, threshold):
    probs = logits.detach().float().softmax(1)
    return probs.argmax(1), probs.amax(1) >= threshold


def taught(logits, labels, believed, valid):
    """Sum over believed valid pixels, divided by the number of valid ones."""
    total = logits.new_zeros(())
    logs = logits.log_softmax(1)
    for b, *place in valid.nonzero().tolist():
        if believed[(b, *place)]:
            total = total - logs[(b, labels[(b, *place)], *place)]
    return total / int(valid.sum())


def overwritten(target, source, box):
    """A copy of ``target`` with the source's values inside the boxes."""
    copy = target.clone()
    for row in range(len(box)):
        inside = box[row].expand(copy[row].shape)
        copy[row][inside] = source[row][inside]
    return copy


def halves(batch):
    count = len(batch.unlabeled["weak"]) // 2
    parts = []
    for rows in (slice(0, count), slice(count, None)):
        views = {name: images[rows] for name, images in batch.unlabeled.items()}
        valid = torch.ones(views["weak"][:, 0].shape, dtype=torch.bool)
        parts.append((views, valid if batch.valid is None else batch.valid[rows]))
    return parts


def fixmatch_drawn(network, batch, boxes, threshold):
    (own, valid), (other, other_valid) = halves(batch)
    network.eval()
    with torch.no_grad():
        other_labels, other_believed = judged(network(other["weak"]).logits[0], threshold)
    network.train()
    count = len(batch.labels)
    logits = network(torch.cat([batch.labeled_images, own["weak"]])).logits[0]
    strong = network(overwritten(own["strong1"], other["strong1"], boxes[0])).logits[0]
    labels, believed = judged(logits[count:], threshold)
    strongly = taught(
        strong,
        overwritten(labels, other_labels, boxes[0]),
        overwritten(believed, other_believed, boxes[0]),
        overwritten(valid, other_valid, boxes[0]),
    )
    return (labeled_loss(logits[:count], batch.labels) + strongly) / 2


def strong_of_teacher(network, teacher, batch, boxes, threshold, views):
    """Images and targets of strong views, mixed with the batch in reverse."""
    valid = torch.ones(batch.unlabeled["weak"][:, 0].shape, dtype=torch.bool)
    valid = valid if batch.valid is None else batch.valid
    with torch.no_grad():
        labels, believed = judged(teacher(batch.unlabeled["weak"]).logits[0], threshold)
    images = [
        overwritten(batch.unlabeled[v], batch.unlabeled[v].flip(0), b)
        for v, b in zip(views, boxes, strict=True)
    ]
    targets = [[overwritten(t, t.flip(0), box) for t in (labels, believed, valid)] for box in boxes]
    return images, targets


def fixmatch_flipped(network, teacher, batch, boxes, threshold):
    images, targets = strong_of_teacher(network, teacher, batch, boxes, threshold, ["strong1"])
    count = len(batch.labels)
    logits = network(torch.cat([batch.labeled_images, images[0]])).logits[0]
    return (labeled_loss(logits[:count], batch.labels) + taught(logits[count:], *targets[0])) / 2


def unimatch_v2(network, teacher, batch, boxes, threshold, factors):
    """``factors`` of every map, (2 U, C)."""
    images, targets = strong_of_teacher(network, teacher, batch, boxes, threshold, ["strong1", "strong2"])
    labeled = network(batch.labeled_images).logits[0]
    maps = [
        m * f.view(*f.shape, 1, 1) for m, f in zip(network.encode(torch.cat(images)), factors, strict=True)
    ]
    first, second = network.decode(maps, images[0].shape[2:]).logits[0].chunk(2)
    strongly = (taught(first, *targets[0]) + taught(second, *targets[1])) / 2
    return (labeled_loss(labeled, batch.labels) + strongly) / 2


def unimatch(network, batch, boxes, threshold, factors):
    """``factors`` of every map, (L + U, C). Returns the loss and the contexts for RankMatch."""
    (own, valid), (other, other_valid) = halves(batch)
    network.eval()
    with torch.no_grad():
        far = network(other["weak"])
        other_labels, other_believed = judged(far.logits[0], threshold)
    network.train()
    count, size = len(batch.labels), own["weak"].shape[2:]
    maps = network.encode(torch.cat([batch.labeled_images, own["weak"]]))
    doubled = [torch.cat([m, m * f.view(*f.shape, 1, 1)]) for m, f in zip(maps, factors, strict=True)]
    clean = network.decode(doubled, size)
    logits, perturbed = clean.logits[0].chunk(2)
    labels, believed = judged(logits[count:], threshold)
    mixed = [overwritten(own[v], other[v], b) for v, b in zip(("strong1", "strong2"), boxes, strict=True)]
    strong = network(torch.cat(mixed))
    terms = [
        taught(
            part,
            overwritten(labels, other_labels, box),
            overwritten(believed, other_believed, box),
            overwritten(valid, other_valid, box),
        )
        for part, box in zip(strong.logits[0].chunk(2), boxes, strict=True)
    ]
    features = taught(perturbed[count:], labels, believed, valid)
    supervised = labeled_loss(logits[:count], batch.labels)
    loss = (supervised + 0.25 * terms[0] + 0.25 * terms[1] + 0.5 * features) / 2
    contexts = clean.context[0].chunk(2)[0][count:].detach(), far.context[0], strong.context[0].chunk(2)
    return loss, contexts


def mixed_context(own, other, box, size):
    """Up to the images' grid, pasted, and down again."""
    up = [F.interpolate(c, size, mode="bilinear", align_corners=True) for c in (own, other)]
    return F.interpolate(overwritten(*up, box), own.shape[2:], mode="bilinear", align_corners=True)


def landmarks(embeddings, count, first):
    """Places of one image's (N, C) embeddings, as unlike as possible by |cosine|; an N x N matrix."""
    unit = F.normalize(embeddings, dim=1)
    cosines = (unit @ unit.T).abs()
    chosen = [first]
    while len(chosen) < min(count, len(unit)):
        worst = {n: max(float(cosines[n, m]) for m in chosen) for n in range(len(unit)) if n not in chosen}
        chosen.append(min(worst, key=lambda n: (worst[n], n)))
    return chosen


def rank_correlation(weak, strong, agents, top=4):
    """Loops over places and orders; ``agents`` a list of places for each image."""
    total, number = 0.0, 0
    for image, chosen in enumerate(agents):
        w, s = weak[image].flatten(1).T, strong[image].flatten(1).T
        for place in range(len(w)):
            likeness_w = torch.softmax(torch.stack([w[place] @ w[n] for n in chosen]), 0)
            likeness_s = torch.softmax(torch.stack([s[place] @ s[n] for n in chosen]), 0)
            nearest = likeness_w.argsort(descending=True)[:top].tolist()
            for order in itertools.permutations(nearest):
                p_w = p_s = 1.0
                for i in range(len(order)):
                    p_w = p_w * likeness_w[order[i]] / (sum(likeness_w[j] for j in order[i:]) + 1e-10)
                    p_s = p_s * likeness_s[order[i]] / (sum(likeness_s[j] for j in order[i:]) + 1e-10)
                total = total + p_w * (torch.log(p_w) - torch.log(p_s + 1e-10))
                number += 1
    return total / number
