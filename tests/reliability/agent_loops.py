"""Algorithms 1 and 2, eq. 4 and the mixture once more, as loops in Python floats: slow, and independent."""

import math

GOLDEN, ONES = 0x9E3779B97F4A7C15, 2**64 - 1


def splitmix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & ONES
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & ONES
    return x ^ (x >> 31)


def device_draws(seed, number, size):
    stream = splitmix((seed + GOLDEN * number) & ONES)
    return [splitmix((stream + GOLDEN * (i + 1)) & ONES) & (2**63 - 1) for i in range(size)]


def candidates(confidence, labels, valid, classes, *, budget, need, most):
    """Places by class, each class from the surest on."""
    members = {
        k: sorted((i for i, own in enumerate(labels) if valid[i] and own == k), key=lambda i: -confidence[i])
        for k in range(classes)
    }
    predicted = [k for k in members if members[k]]
    if not predicted:
        return []
    level = math.ceil(budget * sum(valid) / len(predicted) - 1e-9)
    while sum(min(level, len(members[k])) for k in predicted) < min(need, sum(valid)):
        level += 1
    chosen = []
    for k in predicted:
        count = min(level, len(members[k]))
        chosen += members[k][:count] if most else members[k][len(members[k]) - count :]
    return chosen


def cosine(a, b):
    lengths = [max(math.sqrt(sum(x * x for x in v)), 1e-8) for v in (a, b)]
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths[0] / lengths[1]


def mutually_distant(vectors, first, count):
    """All cosines anew in every step."""
    chosen = [first]
    while len(chosen) < min(count, len(vectors)):
        left = [i for i in range(len(vectors)) if i not in chosen]
        chosen.append(min(left, key=lambda i: max(cosine(vectors[i], vectors[j]) for j in chosen)))
    return chosen


def score(vector, positive, negative, temperature):
    p, n = (sum(math.exp(cosine(vector, a) / temperature) for a in agents) for agents in (positive, negative))
    return p / (p + n)


def two_gaussians(x, iterations=20, floor=1e-6):
    """Means, variances and weights, the lower mean first."""
    x = sorted(float(v) for v in x)
    n, mean = len(x), sum(x) / len(x)
    spread = max(sum((v - mean) ** 2 for v in x) / n, floor)
    tenth = (n - 1) // 10
    components = [(x[tenth], spread, 0.5), (x[n - 1 - tenth], spread, 0.5)]

    def density(v, component):
        mu, variance, weight = component
        return weight * math.exp(-((v - mu) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    for _ in range(iterations):
        shares = []
        for v in x:
            pair = [density(v, c) for c in components]
            shares.append([p / sum(pair) for p in pair])
        updated = []
        for j in (0, 1):
            mass = sum(s[j] for s in shares)
            mu = sum(s[j] * v for s, v in zip(shares, x, strict=True)) / mass
            variance = sum(s[j] * (v - mu) ** 2 for s, v in zip(shares, x, strict=True)) / mass
            updated.append((mu, max(variance, floor), mass / n))
        components = updated
    return list(zip(*sorted(components), strict=True))
