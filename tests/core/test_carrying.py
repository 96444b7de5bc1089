from hypothesis import given
from hypothesis import strategies as st

from stallwart.core import rulebook
from stallwart.core.carrying import carried, carried_answers, moves
from stallwart.core.rulebook import Move, Step
from stallwart.core.taxonomy import Policy, Taxonomy

YES, NO, UNKNOWN = "yes", "no", "unknown"


def policy(name, covers="all of it"):
    return Policy(id=name, title=name, covers=covers, prevalence=0.01)


def taxonomy(*names, **covers):
    return Taxonomy(policies=tuple(policy(name, covers.get(name, "all of it")) for name in names))


def history():
    """drugs was split at 20, fraud and fakes merged at 30, alcohol retired at 40, adult narrowed at 50."""
    books = [rulebook.begin(taxonomy("drugs", "fraud", "fakes", "alcohol", "adult"))]
    books.append(rulebook.split(books[-1], "drugs", (policy("cannabis"), policy("pills"))))
    books.append(rulebook.merge(books[-1], ("fraud", "fakes"), policy("deceit")))
    books.append(rulebook.retire(books[-1], "alcohol"))
    books.append(rulebook.narrow(books[-1], policy("adult", "less")))
    books.append(rulebook.add(books[-1], policy("knives")))
    return [(book, 10 * number) for number, book in enumerate(books, 1)]


def test_labels_are_carried_over_only_where_nobody_needs_to_guess():
    assert carried("drugs", Step(move=Move.SPLIT, old=("drugs",), new=("a", "b"))) is None
    assert carried("drugs", Step(move=Move.MERGE, old=("drugs", "x"), new=("all",))) == "all"
    assert carried("drugs", Step(move=Move.RETIRE, old=("drugs",))) == "neutral"
    assert carried("drugs", Step(move=Move.NARROW, old=("drugs",), new=("drugs",))) is None
    for move in Move:
        assert carried("weapons", Step(move=move, old=("drugs",), new=("a",))) == "weapons"


def test_answers_are_carried_over_by_what_they_prove():
    split = Step(move=Move.SPLIT, old=("a",), new=("b", "c"))
    assert carried_answers({"a": NO, "z": YES}, split, YES, NO) == {"b": NO, "c": NO, "z": YES}
    assert carried_answers({"a": YES}, split, YES, NO) == {}
    merge = Step(move=Move.MERGE, old=("a", "b"), new=("c",))
    assert carried_answers({"a": YES, "b": UNKNOWN}, merge, YES, NO) == {"c": YES}
    assert carried_answers({"a": NO, "b": NO}, merge, YES, NO) == {"c": NO}
    assert carried_answers({"a": NO}, merge, YES, NO) == {}
    narrow = Step(move=Move.NARROW, old=("a",), new=("a",))
    assert carried_answers({"a": YES}, narrow, YES, NO) == {}
    assert carried_answers({"a": NO}, narrow, YES, NO) == {"a": NO}


@given(
    answers=st.dictionaries(st.sampled_from("abcd"), st.sampled_from([YES, NO, UNKNOWN])),
    move=st.sampled_from(list(Move)),
)
def test_what_a_move_does_not_touch_stays_as_it_was_said(answers, move):
    step = Step(move=move, old=("a", "b") if move is Move.MERGE else ("a",), new=("x", "y"))
    made = carried_answers(answers, step, YES, NO)
    assert {name: said for name, said in made.items() if name in "cd"} == {
        name: said for name, said in answers.items() if name in "cd"
    }


def test_labels_are_carried_over_all_moves_and_ids_that_are_no_more_also_when_given_later():
    over = moves(history())
    for at_ms in (None, 5, 1_000):
        assert [over.label(name, at_ms) for name in ("drugs", "fakes", "alcohol", "neutral", "pills")] == [
            None, "deceit", "neutral", "neutral", "pills"
        ]  # fmt: skip
    assert {"drugs", "fraud", "fakes", "alcohol"} <= over.gone


def test_a_narrowed_policy_s_label_counts_from_the_day_of_its_new_text():
    over = moves(history())
    assert [over.label("adult", at_ms) for at_ms in (None, 49, 50)] == [None, None, "adult"]
    assert over.answers({"adult": YES}, 49, YES, NO) == {}
    assert over.answers({"adult": YES}, 50, YES, NO) == {"adult": YES}
    assert over.answers({"adult": NO}, 49, YES, NO) == {"adult": NO}


def test_answers_are_carried_from_move_to_move():
    over = moves(history())
    said = {"drugs": NO, "fraud": NO, "fakes": YES, "alcohol": YES}
    assert over.answers(said, 5, YES, NO) == {"cannabis": NO, "pills": NO, "deceit": YES}


def test_what_was_said_of_the_new_policies_themselves_holds():
    split = Step(move=Move.SPLIT, old=("a",), new=("b", "c"))
    assert carried_answers({"a": NO, "b": YES, "c": UNKNOWN}, split, YES, NO) == {"b": YES, "c": NO}


def test_a_training_that_still_names_the_old_policies_takes_their_labels_as_they_are():
    stale = moves(history(), taxonomy("drugs", "fraud", "fakes", "alcohol", "adult"))
    for name in ("drugs", "fakes", "alcohol", "adult"):
        assert stale.label(name, 5) == name
    current = history()[-1][0].to_train
    assert moves(history(), current) == moves(history())
    half = moves(history(), taxonomy("cannabis", "pills", "fraud", "fakes", "alcohol", "adult"))
    assert (half.label("drugs", 5), half.label("fakes", 5)) == (None, "fakes")


def test_nobody_can_have_been_asked_about_a_policy_that_was_added_later():
    over = moves(history())
    assert (over.added_after(59), over.added_after(60)) == ({"knives"}, frozenset())
