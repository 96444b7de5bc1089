"""Erasure and statements as pages, with people of each role."""

import re

from sites import Clock, signed_in, site, words

from stallwart.core.decision import Action
from stallwart.store.people import Role
from tests.store.outgoing import NOW, decide


def begun(database, tmp_path, **limits):
    limits = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache", **limits}
    return site(database, clock=Clock(NOW + 86_400_000), limits=limits)


def test_an_admin_erases_with_a_preview_the_id_twice_and_a_certificate(database, tmp_path):
    decide(database, [], ("gone", 1), ("kept", 1))
    admin = signed_in(begun(database, tmp_path), database, Role.ADMIN)
    assert "Nothing yet." in words(admin.get("/erasure").text)
    shown = words(admin.post("/erasure/preview", kind="listing", name="gone").text)
    assert "Revisions, with their words 1" in shown
    asked = {"kind": "listing", "name": "gone", "why": "they asked"}
    assert admin.post("/erasure", **asked, again="gnoe").status_code == 422
    assert admin.post("/erasure", **{**asked, "why": "gone asked"}, again="gone").status_code == 400
    assert admin.post("/erasure", csrf="wrong", **asked, again="gone").status_code == 403
    done = admin.post("/erasure", **asked, again="gone")
    assert done.status_code == 303
    certificate = admin.get(done.headers["location"]).text
    assert "Certificate of erasure" in certificate
    assert re.search(r"by entry \d+ of the audit log", words(certificate))
    assert "gone" not in words(certificate).replace("It is erased.", "")
    assert (tmp_path / "data" / "tombstones.json").is_file()
    assert "There is nothing of this id" in words(
        admin.post("/erasure/preview", kind="seller", name="no").text
    )
    for wrong in ({"kind": "x", "name": "a"}, {"kind": "listing", "name": " "}):
        assert admin.post("/erasure/preview", **wrong).status_code == 422


def test_nobody_else_comes_near_it(database, tmp_path):
    app = begun(database, tmp_path)
    for role in (Role.REVIEWER, Role.LEAD, Role.ENGINEER):
        one = signed_in(app, database, role)
        assert one.get("/erasure").status_code == 403
        assert one.post("/erasure", kind="listing", name="a", again="a", why="b").status_code == 403
        assert one.get("/statements").status_code == (200 if role == Role.LEAD else 403)


def test_a_lead_reads_what_a_seller_was_told_and_hostile_ids_stay_words(database, tmp_path):
    hostile = "<script>alert(1)</script>"
    decide(database, [], (hostile, 1), ("fine", 1))
    decide(database, [], ("allowed", 1), action=Action.ALLOW)
    lead = signed_in(begun(database, tmp_path), database, Role.LEAD)
    page = lead.get("/statements").text
    assert hostile not in page
    assert "allowed" not in words(page)
    told = lead.get("/statements/d-fine-0001").text
    assert "Statement of reasons" in words(told)
    assert 'lang="de"' in lead.get("/statements/d-fine-0001?language=de").text
    assert lead.get("/statements/d-none").status_code == 404
