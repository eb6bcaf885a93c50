"""The models in plain NumPy, written from their descriptions alone: one clip, float64, no dropout."""

import numpy as np


def _norm(x, params):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * params['scale'] + params['bias']


def _dense(x, params):
    return x @ params['kernel'] + params['bias']


def _attention(x, memory, params, heads):
    dim = x.shape[-1]
    query, key, value = np.split(params['in_proj_kernel'], 3, axis=1)
    bias = np.split(params['in_proj_bias'], 3)
    query, key, value = x @ query + bias[0], memory @ key + bias[1], memory @ value + bias[2]
    answers = []
    for columns in np.split(np.arange(dim), heads):
        scores = query[:, columns] @ key[:, columns].T / np.sqrt(dim / heads)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        answers.append(weights / weights.sum(-1, keepdims=True) @ value[:, columns])
    return _dense(np.concatenate(answers, -1), params['out_proj'])


def _mlp(x, params):
    return _dense(np.maximum(_dense(x, params['mlp_in']), 0), params['mlp_out'])


def _layers(params):
    if isinstance(params, dict):
        trees = {key: _layers(value) for key, value in params.items()}
        count = len(next(iter(trees.values())))
        return [{key: value[i] for key, value in trees.items()} for i in range(count)]
    return list(params)


def _encode(x, params, heads):
    for layer in _layers(params['layers']):
        x = _norm(x + _attention(x, x, layer['self_attention'], heads), layer['norm_self'])
        x = _norm(x + _mlp(x, layer), layer['norm_mlp'])
    return _norm(x, params['norm'])


def _decode(x, memory, params, heads, is_query):
    for layer in _layers(params['layers']):
        residual = x if is_query else _attention(x, x, layer['self_attention'], heads)
        x = _norm(x + residual, layer['norm_self'])
        x = _norm(x + _attention(x, memory, layer['cross_attention'], heads), layer['norm_cross'])
        x = _norm(x + _mlp(x, layer), layer['norm_mlp'])
    return _norm(x, params['norm'])


def _weights(mask, frames):
    """A weight per coordinate for each block of a frame: coordinates, differences, presence."""
    return np.tile(mask, frames.shape[-1] // len(mask))


def _positions(length, dim):
    table = np.zeros((length, dim))
    for time in range(length):
        for i in range(dim):
            angle = time / 10000 ** (2 * (i // 2) / dim)
            table[time, i] = np.cos(angle) if i % 2 else np.sin(angle)
    return table


def _swish(x):
    return x / (1 + np.exp(-x))


def _convolve(x, kernel):
    """Each column with that of the kernel, as correlation, zero beyond the ends."""
    half = len(kernel) // 2
    columns = [
        np.convolve(column, taps[::-1])[half : half + len(x)] for column, taps in zip(x.T, kernel.T, strict=True)
    ]
    return np.stack(columns, axis=1)


def conv_block(x, params):
    """<float>[time, dim] -> the same shape."""
    hidden = _swish(_dense(_norm(x, params['norm_in']), params['expand']))
    hidden = _norm(_convolve(hidden, params['depthwise_kernel']), params['norm'])
    gate = 1 / (1 + np.exp(-_convolve(hidden.mean(axis=0)[:, None], params['gate_kernel'])))
    return x + _dense(hidden * gate[:, 0], params['project'])


def _pre_norm_layer(x, params, heads):
    normed = _norm(x, params['norm_self'])
    x = x + _attention(normed, normed, params['self_attention'], heads)
    hidden = _swish(_dense(_norm(x, params['norm_mlp']), params['mlp_in']))
    return x + _dense(hidden, params['mlp_out'])


def _conv_transformer(frames, params, heads):
    encoder = params['encoder']
    x = _norm(_dense(frames * params['encoder_mask'], encoder['project']), encoder['norm_in'])
    for stage in _layers(encoder['stages']):
        for name in sorted(key for key in stage if key.startswith('conv_')):
            x = conv_block(x, stage[name])
        x = _pre_norm_layer(x, stage['transformer'], heads)
    x = _norm(x, encoder['norm'])
    if 'class_query' in params:
        return _decode(params['class_query'][None], x, params['decoder'], heads, is_query=True)[0]
    return np.concatenate([x.max(axis=0), x.mean(axis=0)])


def logits(name, params, frames, heads):
    """<float>[time, dim] -> <float64>[classes]."""
    frames = targets = np.asarray(frames, np.float64)
    if name == 'conv_transformer':
        return _dense(_conv_transformer(frames, params, heads), params['classifier'])
    if name == 'spoter_pe':
        frames = frames + params['position']
    elif name == 'class_query':
        frames = frames * _weights(params['encoder_mask'], frames)
    elif name == 'sequence_query':
        weights = [_weights(params[name], frames) for name in ('encoder_mask', 'decoder_mask')]
        frames, targets = frames * weights[0], targets * weights[1]
    elif name == 'baseline':
        frames = targets = frames + _positions(*frames.shape)
    memory = _encode(frames, params['encoder'], heads)
    if 'class_query' in params:
        clip = _decode(params['class_query'][None], memory, params['decoder'], heads, is_query=True)[0]
    else:
        clip = _decode(targets, memory, params['decoder'], heads, is_query=False).mean(axis=0)
    return _dense(clip, params['classifier'])
