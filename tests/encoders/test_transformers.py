"""Through the real loading code, on small checkpoints with random weights that are made here."""

import json

import numpy as np
import pytest
import torch
from samples import WORDS, write_text
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel, DistilBertConfig, DistilBertModel
from transformers import PreTrainedTokenizerFast as FastTokenizer

from stallwart.core.errors import ConfigError
from stallwart.encoders.graphs import TextGraph
from stallwart.encoders.spec import TOKENIZER
from stallwart.encoders.table import exported, exporter

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
KINDS = {
    "bert": (BertModel, BertConfig(vocab_size=300, max_position_embeddings=512, **_SMALL)),
    "albert": (AlbertModel, AlbertConfig(vocab_size=300, embedding_size=16, **_SMALL)),
}


def save_tokenizer(folder):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(WORDS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    pieces = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=pieces)
    fast = FastTokenizer(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]")
    fast.save_pretrained(folder)


def save_checkpoint(folder, kind):
    torch.manual_seed(0)
    model_class, config = KINDS[kind]
    model_class(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request, tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("option", ["", "#pooler"])
def test_the_graph_computes_what_the_model_does_at_every_length(checkpoint, option, tmp_path):
    name = f"transformers:{checkpoint}{option}"
    folder, model = exported(name, tmp_path), exporter(name).network().model
    graph, lamp = TextGraph(folder), Tokenizer.from_file(str(folder / TOKENIZER)).token_to_id("lamp")
    for words in (0, 1, 15, 126, 5000):  # with the two special tokens: 2, 3, 17, 128, cut to 128
        text = " ".join(["lamp"] * words) or " "
        ids = torch.tensor([[2, *[lamp] * min(words, 126), 3]])
        with torch.no_grad():
            states = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        expected = states.pooler_output if option else states.last_hidden_state.mean(dim=1)
        np.testing.assert_allclose(graph.encode(text), expected[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 2, 17, 128])
def test_the_network_and_a_plain_call_of_the_model_agree(checkpoint, tokens):
    network = exporter(f"transformers:{checkpoint}").network()
    ids = torch.arange(tokens)[None]
    with torch.no_grad():
        plain = network.model(input_ids=ids).last_hidden_state.mean(dim=1)
        np.testing.assert_allclose(network(ids).numpy(), plain.numpy(), atol=1e-5)


def test_the_mean_and_the_pooler_are_two_encoders(checkpoint, tmp_path):
    mean, pooler = (
        TextGraph(exported(f"transformers:{checkpoint}{option}", tmp_path)) for option in ("", "#pooler")
    )
    assert mean.spec.digest != pooler.spec.digest
    assert np.abs(mean.encode("brass lamp") - pooler.encode("brass lamp")).max() > 0.01


def test_a_model_without_pooler_weights_gives_the_mean_and_refuses_the_pooler(tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "bare"
    BertModel(KINDS["bert"][1], add_pooling_layer=False).save_pretrained(folder)
    save_tokenizer(folder)
    first, second = (exporter(f"transformers:{folder}").spec() for _ in range(2))
    assert first.digest == second.digest  # though transformers invents another pooler at each loading
    with pytest.raises(ConfigError, match=r"the weights lack 2 .*pooler"):
        exporter(f"transformers:{folder}#pooler").spec()


def test_an_architecture_without_pooler_refuses_the_pooler(tmp_path):
    config = DistilBertConfig(vocab_size=300, dim=32, n_layers=1, n_heads=4, hidden_dim=64)
    DistilBertModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match="DistilBertModel has no pooled output"):
        exporter(f"transformers:{tmp_path}#pooler").spec()


def test_weights_config_and_tokenizer_all_decide_the_digest(tmp_path):
    folder = save_checkpoint(tmp_path / "a", "bert")
    name = f"transformers:{folder}"
    digests = [exporter(name).spec().digest]
    assert exporter(name).spec().digest == digests[0]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 2}))
    digests.append(exporter(name).spec().digest)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["max_input_chars_per_word"] = 7
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    digests.append(exporter(name).spec().digest)
    BertModel(KINDS["bert"][1]).save_pretrained(folder)
    digests.append(exporter(name).spec().digest)
    assert len(set(digests)) == 4


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = save_checkpoint(tmp_path / "a", "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(ConfigError):
        exporter(f"transformers:{folder}").spec()


def test_weights_that_lack_a_layer_are_refused_and_not_made_up(tmp_path):
    folder = save_checkpoint(tmp_path / "a", "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ConfigError, match=r"the weights lack \d+ of the model's tensors"):
        exporter(f"transformers:{folder}").spec()


def test_a_model_of_few_positions_cuts_there(tmp_path):
    BertModel(BertConfig(vocab_size=300, max_position_embeddings=9, **_SMALL)).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    graph = TextGraph(exported(f"transformers:{tmp_path}", tmp_path / "cache"))
    assert graph.spec.max_tokens == 9
    assert np.isfinite(graph.encode("brass lamp " * 100)).all()


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
def test_a_broken_file_is_one_line(broken, tmp_path):
    folder = save_checkpoint(tmp_path / "a", "bert")
    (folder / broken).write_bytes((folder / broken).read_bytes()[:50])
    with pytest.raises(ConfigError, match="no text model can be loaded") as caught:
        exporter(f"transformers:{folder}").spec()
    assert "\n" not in str(caught.value)


def test_a_missing_tokenizer_is_one_line(tmp_path):
    BertModel(KINDS["bert"][1]).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"tokenizer") as caught:
        exporter(f"transformers:{tmp_path}").spec()
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    BertModel(BertConfig(vocab_size=20, **_SMALL)).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match=r"the tokenizer has \d+ tokens and the model 20"):
        exporter(f"transformers:{tmp_path}").spec()


@pytest.mark.parametrize("source", ["/no/such/folder", "./nowhere", "nobody/no-such-model", "no-such-model"])
def test_a_missing_model_is_one_line_and_no_network(source):
    with pytest.raises(ConfigError, match="transformers:") as caught:
        exporter(f"transformers:{source}").spec()
    assert "\n" not in str(caught.value)


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="there is: pooler"):
        exporter("transformers:anything#cls")


def test_an_embedding_is_the_same_from_two_exports(checkpoint, tmp_path):
    graphs = [TextGraph(exported(f"transformers:{checkpoint}", tmp_path / side)) for side in "ab"]
    for seed in range(5):
        a, b = (graph.encode(write_text(seed)) for graph in graphs)
        np.testing.assert_array_equal(a, b)
