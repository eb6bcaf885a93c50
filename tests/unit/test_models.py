import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from slr_jax import errors, models
from slr_jax.models import fast, layers
from slr_jax.models.fast import draw_bits, dropout
from tests import numpy_models

DIM, HEADS, CLASSES = 42, 7, 13

# Name -> the model and its further fields.
CASES = {name: (name, {}) for name in models.MODELS}
CASES['conv_transformer'] = ('conv_transformer', {'width': 14})
CASES['conv_transformer, max_mean'] = ('conv_transformer', {'width': 14, 'kernel_size': 5, 'pooling': 'max_mean'})


@functools.cache
def make(case):
    """A model and parameters away from the zeros and ones of the initialization, where mistakes would not show."""
    name, fields = CASES[case]
    model = models.create_model(name, num_classes=CLASSES, num_heads=HEADS, num_layers=2, mlp_dim=16, **fields)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(functools.partial(init, model, dim=DIM), jax.random.key(0))
    return model, jax.tree.map(lambda x: rng.normal(0.1, 0.3, x.shape).astype(x.dtype), shapes)


def init(model, key, dim):
    return jax.jit(model.init)(key, jnp.zeros((1, 1, dim)), jnp.ones((1, 1), bool))['params']


def clips(*lengths):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, DIM)).astype(np.float32) for length in lengths]


def apply_alone(model, params, clip):
    return jax.jit(model.apply)({'params': params}, clip[None], np.ones((1, len(clip)), bool))[0]


@pytest.mark.parametrize('case', CASES)
def test_equals_numpy(case):
    model, params = make(case)
    as_numpy = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    for clip in clips(1, 9, 40):
        expected = numpy_models.logits(CASES[case][0], as_numpy, clip, HEADS)
        np.testing.assert_allclose(apply_alone(model, params, clip), expected, atol=1e-5)


@pytest.mark.parametrize('case', CASES)
def test_plain_layers_give_the_same_and_take_jvp(case):
    model, params = make(case)
    clip, mask = clips(9)[0][None], np.ones((1, 9), bool)

    def loss(params):
        return (model.apply({'params': params}, clip, mask, False, rngs={'dropout': jax.random.key(0)}) ** 2).sum()

    expected, gradient = jax.jit(jax.value_and_grad(loss))(params)
    with models.plain_layers():
        found, directional = jax.jit(lambda x: jax.jvp(loss, (x,), (x,)))(params)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(directional, optax.tree.vdot(gradient, params), rtol=1e-4)


@pytest.mark.parametrize('case', CASES)
def test_padding_and_batch_change_nothing(case):
    model, params = make(case)
    lengths = (1, 9, 40)
    batch, mask = np.full((4, 160, DIM), 1e6, np.float32), np.zeros((4, 160), bool)
    for slot, clip in enumerate(clips(*lengths)):
        batch[slot, : len(clip)], mask[slot, : len(clip)] = clip, True
    apply = jax.jit(model.apply)
    together = apply({'params': params}, batch, mask)
    assert np.isfinite(together).all()  # the slot without any frame as well
    for slot, clip in enumerate(clips(*lengths)):
        alone = apply_alone(model, params, clip)
        np.testing.assert_allclose(together[slot], alone, atol=1e-5)
        padded = apply({'params': params}, batch[slot : slot + 1], mask[slot : slot + 1])
        np.testing.assert_allclose(padded[0], alone, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('case', ['conv_transformer', 'conv_transformer, max_mean'])
def test_gradients_of_a_batch_are_the_sum_of_those_alone(case):
    model, params = make(case)
    batch, labels = np.stack(clips(*[9] * 4)), np.arange(4)

    @jax.jit
    def gradient(params, batch, labels):
        def loss(params):
            logits = model.apply({'params': params}, batch, np.ones(batch.shape[:2], bool))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum()

        return jax.grad(loss)(params)

    alone = [gradient(params, batch[i : i + 1], labels[i : i + 1]) for i in range(4)]
    expected = jax.tree.map(lambda *x: sum(x), *alone)
    found = gradient(params, batch, labels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max()), found, expected)


@pytest.mark.parametrize('case', CASES)
def test_who_sees_the_order_of_frames(case):
    model, params = make(case)
    (clip,) = clips(12)
    order = np.random.default_rng(2).permutation(12)
    logits, shuffled = (apply_alone(model, params, frames) for frames in (clip, clip[order]))
    if CASES[case][0] in ('baseline', 'conv_transformer'):
        assert np.abs(logits - shuffled).max() > 1e-4
    else:
        np.testing.assert_allclose(logits, shuffled, atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'dim', 'heads', 'classes', 'count'),
    [
        ('spoter_pe', 108, 9, 100, 5_922_772),
        ('spoter_pe', 150, 10, 100, 8_518_876),
        ('spoter_no_pe', 150, 10, 100, 8_511_226),
        ('class_query', 150, 10, 100, 8_511_376),
        ('class_query', 42, 7, 13, 2_179_483),
        ('sequence_query', 150, 10, 100, 9_054_976),
        ('baseline', 150, 10, 100, 9_054_676),
    ],
)
def test_published_parameter_counts(name, dim, heads, classes, count):
    model = models.create_model(name, num_classes=classes, num_heads=heads)
    assert models.count_parameters(jax.eval_shape(lambda key: init(model, key, dim), jax.random.key(0))) == count


@pytest.mark.parametrize(('pooling', 'pooled'), [('class_query', 16), ('max_mean', 32)])
def test_parameter_count_of_conv_transformer(pooling, pooled):
    fields = {'num_layers': 2, 'mlp_dim': 24, 'width': 16, 'conv_blocks': 3, 'kernel_size': 5, 'pooling': pooling}
    model = models.create_model('conv_transformer', num_classes=5, num_heads=4, **fields)
    block = (2 * 16) + (16 * 32 + 32) + 32 * 5 + (2 * 32) + 5 + (32 * 16 + 16)
    attention = (16 * 48 + 48) + (16 * 16 + 16)
    mlp = (16 * 24 + 24) + (24 * 16 + 16)
    encoder = DIM + (DIM * 16 + 16) + 2 * 16 + 2 * (3 * block + attention + mlp + 4 * 16) + 2 * 16
    # Three LayerNorms in the layer and one after it.
    decoder = 16 + attention + mlp + 8 * 16 if pooling == 'class_query' else 0
    count = encoder + decoder + pooled * 5 + 5
    assert models.count_parameters(models.param_shapes(model, DIM)) == count


@pytest.mark.parametrize('name', ['class_query', 'sequence_query'])
def test_initialization(name):
    model = models.create_model(name, num_classes=CLASSES, num_heads=HEADS, num_layers=3, mlp_dim=64)
    params = init(model, jax.random.key(3), DIM)
    np.testing.assert_array_equal(params['encoder_mask'], 1)
    encoder, decoder = params['encoder']['layers'], params['decoder']['layers']
    attention = encoder['self_attention']
    # One draw for the biases of all layers, a draw of its own for each matrix.
    for bias, fan_in in ((encoder['mlp_in']['bias'], DIM), (encoder['mlp_out']['bias'], 64)):
        assert (bias == bias[0]).all()
        assert 0.7 / np.sqrt(fan_in) < np.abs(bias).max() <= 1 / np.sqrt(fan_in)
    assert not (attention['in_proj_kernel'][0] == attention['in_proj_kernel'][1]).any()
    xavier = {'in_proj_kernel': np.sqrt(6 / (4 * DIM)), 'mlp_in': np.sqrt(6 / (DIM + 64))}
    assert 0.98 * xavier['in_proj_kernel'] < np.abs(attention['in_proj_kernel']).max() <= xavier['in_proj_kernel']
    assert 0.98 * xavier['mlp_in'] < np.abs(encoder['mlp_in']['kernel']).max() <= xavier['mlp_in']
    assert not attention['in_proj_bias'].any()
    assert not attention['out_proj']['bias'].any()
    if name == 'class_query':
        assert 0 <= params['class_query'].min() < params['class_query'].max() <= 1
        assert all((x == x[0]).all() for x in jax.tree.leaves(decoder))
        out = decoder['cross_attention']['out_proj']['kernel']
        assert 0.98 / np.sqrt(DIM) < np.abs(out).max() <= 1 / np.sqrt(DIM)
    else:
        np.testing.assert_array_equal(params['decoder_mask'], 1)
        kernel = decoder['cross_attention']['in_proj_kernel']
        assert not (kernel[0] == kernel[1]).any()


def apply_with_dropout(model, params, clip, seed, **options):
    @jax.jit
    def apply(params, clip, key):
        padding_mask = jnp.ones((1, len(clip)), bool)
        rngs = {'dropout': key}
        return model.apply({'params': params}, clip[None], padding_mask, deterministic=False, rngs=rngs, **options)

    return apply(params, clip, jax.random.key(seed))


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('class_query', {}),
        ('baseline', {'dropout_rate': 0.0}),
        ('conv_transformer', {}),
        ('conv_transformer', {'dropout_rate': 0.0, 'drop_path_rate': 0.5}),
        ('conv_transformer', {'dropout_rate': 0.0, 'late_dropout_rate': 0.5}),
    ],
)
def test_dropout_needs_a_key_and_changes_the_answer(name, fields):
    """That of the layers, that of the baseline's input, drop-path and late dropout."""
    model, params = make(name)
    (clip,) = clips(9)
    answers = [apply_with_dropout(model.clone(**fields), params, clip, seed) for seed in (0, 0, 1)]
    assert (answers[0] == answers[1]).all()
    assert (answers[0] != answers[2]).any()


@pytest.mark.parametrize(('kind', 'sites'), [('encoder', 4), ('class_query', 5), ('decoder', 6)])
def test_each_dropout_of_a_layer_draws_by_itself(kind, sites):
    """As many words matter as the published layer has dropouts, so no two of them share theirs."""
    layer = layers.TransformerLayer(
        kind, HEADS, 16, 0.5, None, lambda fan_in: nn.initializers.zeros, jnp.float32, jnp.float32
    )
    x, memory = (clip[None] for clip in clips(9, 9))
    padding_mask = np.ones((1, 9), bool)
    words = np.random.default_rng(0).integers(2**32, size=(6, 1, 2), dtype=np.uint32)
    params = jax.jit(layer.init)(jax.random.key(1), x, memory, padding_mask, words)
    answer = jax.jit(lambda words: layer.apply(params, x, memory, padding_mask, words)[0])
    changed = [words ^ (np.arange(6)[:, None, None] == i) for i in range(6)]
    assert [(answer(other) != answer(words)).any() for other in changed] == [i < sites for i in range(6)]


@pytest.mark.parametrize('case', CASES)
def test_a_row_without_frames_is_finite_and_so_are_its_gradients(case):
    model, params = make(case)
    batch, padding_mask = np.stack(clips(4, 4)), np.array([[True] * 4, [False] * 4])

    def loss(params):
        return (model.apply({'params': params}, batch, padding_mask) ** 2).sum()

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    assert all(np.isfinite(x).all() for x in (value, *jax.tree.leaves(gradients)))


def test_runs_together_draw_what_each_draws_alone():
    """Dropout of the layers, drop-path and late dropout, under vmap over parameters and keys."""
    model, params = make('conv_transformer')
    model = model.clone(dropout_rate=0.3, drop_path_rate=0.3, late_dropout_rate=0.3)
    batch = np.stack(clips(9, 9))

    def apply(params, key):
        return model.apply({'params': params}, batch, np.ones((2, 9), bool), deterministic=False, rngs={'dropout': key})

    keys = jax.random.split(jax.random.key(0), 3)
    stacked = jax.tree.map(lambda x: np.stack([x, x * 1.1, x * 0.9]), params)
    together = jax.jit(jax.vmap(apply))(stacked, keys)
    for i, key in enumerate(keys):
        alone = jax.jit(apply)(jax.tree.map(lambda x, i=i: x[i], stacked), key)
        np.testing.assert_allclose(together[i], alone, atol=1e-5)


def test_each_layer_drops_other_values():
    model = models.create_model('class_query', num_classes=CLASSES, num_heads=HEADS, num_layers=2, mlp_dim=DIM)
    params = init(model, jax.random.key(0), DIM)
    for stack in ('encoder', 'decoder'):  # the feed-forward layer answers with its dropout pattern
        stacked = params[stack]['layers']
        stacked['mlp_in'] = {'kernel': np.zeros((2, DIM, DIM)), 'bias': np.ones((2, DIM))}
        stacked['mlp_out'] = {'kernel': np.stack([np.eye(DIM)] * 2), 'bias': np.zeros((2, DIM))}
    (clip,) = clips(1)
    is_captured = {'capture_intermediates': lambda _, method: method == '_feed_forward'}
    _, variables = apply_with_dropout(model, params, clip, 0, **is_captured)
    captured = [variables['intermediates'][stack]['layers']['_feed_forward'] for stack in ('encoder', 'decoder')]
    kept = np.concatenate([np.asarray(patterns).reshape(2, DIM) for (patterns,) in captured])
    np.testing.assert_allclose(np.unique(kept), [0, 1 / 0.9], rtol=1e-6)
    assert len(np.unique(kept, axis=0)) == 4


def bits_of(seed, x):
    return draw_bits(jax.random.key(seed), np.arange(len(x), dtype=np.uint32))


def drop(x, seed, rate=0.1):
    return np.asarray(dropout(x, rate, bits_of(seed, x)))


def test_dropout_keeps_values_independently_at_its_rate():
    kept = [drop(jnp.ones((64, 50, 96)), seed) for seed in range(4)]
    np.testing.assert_allclose(np.unique(kept[0]), [0, 1 / 0.9], rtol=1e-6)
    kept = np.array(kept) > 0
    deviation = np.sqrt(0.9 * 0.1 / kept[0].size)
    assert np.abs(kept.mean(axis=(1, 2, 3)) - 0.9).max() < 5 * deviation
    for axis in range(1, 4):  # and no row, column or clip is favoured
        others = tuple(a for a in range(1, 4) if a != axis)
        means = kept.mean(axis=others)
        expected = np.sqrt(0.9 * 0.1 / (kept[0].size / kept.shape[axis]))
        assert 0.7 < means.std() / expected < 1.3
        for shift in (1, 2, 16):
            both = (kept & np.roll(kept, shift, axis)).mean(axis=(1, 2, 3))
            assert np.abs(both - 0.81).max() < 6 * deviation
    assert abs((kept[0] & kept[1]).mean() - 0.81) < 6 * deviation


def test_dropout_does_not_depend_on_padding():
    long = drop(jnp.ones((3, 20, 30)), 1, 0.5)
    np.testing.assert_array_equal(drop(jnp.ones((3, 11, 30)), 1, 0.5), long[:, :11])
    np.testing.assert_array_equal(drop(jnp.ones((2, 11, 11)), 1, 0.5), long[:2, :11, :11])


def test_gradient_passes_where_dropout_kept():
    x = jax.random.normal(jax.random.key(0), (4, 50))
    gradient = jax.grad(lambda x: dropout(x, 0.3, bits_of(2, x)).sum())(x)
    np.testing.assert_allclose(gradient * x, drop(x, 2, 0.3), rtol=1e-6)
    assert 0 < (gradient == 0).sum() < 200


@pytest.mark.parametrize('shape', [(16, 4), (4, 16)])
def test_gradient_of_the_product_of_a_dense_layer(shape):
    key = jax.random.key(0)
    x, kernel = jax.random.normal(key, (3, 5, shape[0])), jax.random.normal(key, shape)
    grads = [
        jax.grad(lambda x, kernel, f=f: (f(x, kernel) ** 2).sum(), argnums=(0, 1))(x, kernel)
        for f in (fast.dense_product, jnp.matmul)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *grads)


def test_attention_weights_of_conv_transformer():
    model, params = make('conv_transformer')
    (clip,) = clips(9)
    _, variables = model.apply({'params': params}, clip[None], np.ones((1, 9), bool), mutable='intermediates')
    found = variables['intermediates']
    (weights,) = found['encoder']['stages']['transformer']['self_attention']['attention_weights']
    assert weights.shape == (2, 1, HEADS, 9, 9)
    (weights,) = found['decoder']['layers']['cross_attention']['attention_weights']
    assert weights.shape == (1, 1, HEADS, 1, 9)


def test_attention_weights_can_be_asked_for():
    model, params = make('class_query')
    (clip,) = clips(9)
    padded, mask = np.pad(clip, ((0, 3), (0, 0)))[None], np.arange(12)[None] < 9
    _, variables = model.apply({'params': params}, padded, mask, mutable='intermediates')
    (weights,) = variables['intermediates']['decoder']['layers']['cross_attention']['attention_weights']
    assert weights.shape == (2, 1, HEADS, 1, 12)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert not weights[..., 9:].any()


@pytest.mark.parametrize('case', ['sequence_query', 'conv_transformer', 'conv_transformer, max_mean'])
def test_bfloat16_computes_near_float32(case):
    model, params = make(case)
    half = model.clone(dtype=jnp.bfloat16)
    (clip,) = clips(9)
    answer = apply_alone(half, params, clip)
    assert answer.dtype == jnp.float32
    assert init(half, jax.random.key(0), DIM)['encoder_mask'].dtype == jnp.float32
    np.testing.assert_allclose(answer, apply_alone(model, params, clip), atol=0.2)


def test_bad_shapes_are_refused():
    model, params = make('baseline')
    with pytest.raises(errors.InputError, match=r'num_heads.*\b5\b.*\b42\b'):
        models.create_model('baseline', num_classes=2, num_heads=5).apply(
            {'params': params}, np.zeros((1, 2, 42)), np.ones((1, 2), bool)
        )
    with pytest.raises(errors.InputError, match=r'\[batch, time, dim\]'):
        model.apply({'params': params}, np.zeros((2, 42)), np.ones(2, bool))
    with pytest.raises(errors.InputError, match=r"model.*'lstm'.*spoter_pe"):
        models.create_model('lstm', num_classes=2, num_heads=1)
    # Heads share its own width, whatever that of the input.
    with pytest.raises(errors.InputError, match=r'num_heads is 7, .* width 16; try 1, 2, 4, 8'):
        init(models.create_model('conv_transformer', num_classes=2, num_heads=7, width=16), jax.random.key(0), DIM)
    with pytest.raises(errors.InputError, match=r"pooling is 'mean', .*class_query, max_mean"):
        init(
            models.create_model('conv_transformer', num_classes=2, num_heads=4, pooling='mean'), jax.random.key(0), DIM
        )
