"""The contract with uploaders, sentence by sentence, and the tests that hold the agent to it.

Sections 3 (the drop directory) and 7 (what an archive may contain) of the contract. Whoever changes a promise finds
here what has to be changed with it; a test that is renamed or removed must not leave its promise behind.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

AGENT = "agent/test_deploy.py::test_"
PROTOCOL = "agent/test_protocol.py::test_"
LIFE = "agent/test_life.py::test_"
UPLOADS = "agent/test_uploads.py::test_"
SIGNED = "agent/test_signatures.py::test_"
MANY = "agent/test_many.py::test_"
JUDGE = "unit/intake/test_judge.py::test_"
DROP = "unit/intake/test_dropdir.py::test_"
WHOLE = "unit/releases/test_wholeness_of_archives.py::test_"
REAL = "unit/releases/test_real_build.py::test_"
HOSTILE = "unit/releases/test_hostile.py::test_"
TREE = "unit/releases/test_directory.py::test_"
NAMES = "unit/intake/test_names.py::test_"
CLIENTS = "box/test_clients.py::test_cell"

THE_DROP_DIRECTORY = {
    "X.tar, X.tar.gz, X.tgz, X.tar.xz, … X.zip: a build": (
        f"{AGENT}archive_types",
        f"{AGENT}zstandard",
        f"{NAMES}what_a_name_means",
    ),
    "X/ and then X.ready: a build as a directory; it goes when the marker arrives": (
        f"{AGENT}a_directory_goes_with_its_marker_and_stays",
        f"{JUDGE}a_directory_goes_with_its_marker_only",
        f"{JUDGE}a_marker_whose_upload_is_not_there_yet_waits",
    ),
    "NAME.ready … re-tries an unchanged failed upload": (f"{JUDGE}ready_retries_an_unchanged_upload_once",),
    "NAME.sha256: checksum of upload NAME, as sha256sum prints it (a bare digest is fine too)": (
        "unit/intake/test_proof.py::test_every_spelling_of_a_checksum",
        f"{AGENT}a_wrong_checksum_and_then_the_right_one",
    ),
    "NAME.sig: signature of upload NAME, as ssh-keygen -Y sign -n dropdeploy makes it": (
        "unit/intake/test_proof.py::test_a_good_signature",
        f"{SIGNED}a_signed_build_is_deployed_whichever_comes_first",
    ),
    "NAME.meta.toml: a flat table of strings, at most 64 KiB, copied to the result and the history": (
        f"{DROP}bad_metadata_is_told",
        f"{DROP}good_metadata",
        f"{AGENT}metadata_and_checksum_travel_to_the_result",
    ),
    "rollback: empty means the newest healthy release older than the live one": (
        f"{AGENT}rollback_by_marker",
        f"{AGENT}rollback_passes_over_ill_releases",
    ),
    "rollback: or one line, the release id": (f"{AGENT}rollback_to_a_named_release_by_any_editor",),
    "rollback.txt and any letter case are understood; a CRLF and a BOM too": (
        f"{AGENT}rollback_to_a_named_release_by_any_editor",
        f"{DROP}a_marker_is_read_however_it_was_written",
        f"{NAMES}what_a_name_means",
    ),
    "restart: restart the live release through the same health gate": (f"{AGENT}restart",),
    "hold: while it exists uploads wait (step = held), and go on in order when it is gone; rollbacks are not held": (
        f"{PROTOCOL}hold_makes_uploads_wait_and_rollbacks_not",
        "unit/report/test_result.py::test_deploying_while_held",
    ),
    "cancel: stop the deploy in progress if it has not swapped yet": (
        f"{PROTOCOL}cancel_before_the_swap",
        f"{PROTOCOL}cancel_after_the_swap_is_too_late",
    ),
    "Dot files and clients' temporary names are invisible": (
        f"{PROTOCOL}clients_temporary_names_are_invisible",
        f"{NAMES}what_a_name_means",
    ),
    "Any other file is answered with a rejected result (unsupported-upload) once it is closed": (
        f"{AGENT}unsupported",
        f"{JUDGE}unsupported_files_are_answered_once_closed",
    ),
    "What the agent writes: always by write to a dot file, then rename": (
        "unit/report/test_dropfiles.py::test_whoever_reads_meanwhile_sees_the_old_or_the_new_whole",
        "unit/report/test_dropfiles.py::test_a_write_that_breaks_off_leaves_what_was_there",
        "unit/report/test_dropfiles.py::test_a_link_that_was_planted_is_replaced_and_not_followed",
    ),
    "NAME.deploying: step, percent where known, started; at each step and at most once a second": (
        f"{PROTOCOL}progress_is_told_while_it_happens",
        "unit/report/test_desk.py::test_a_percentage_is_told_once_a_second_and_a_step_at_once",
    ),
    "NAME.result.toml: NAME is the upload or the marker": (
        f"{AGENT}a_first_and_a_second_deploy",
        f"{AGENT}rollback_by_marker",
    ),
    "status.toml: the app now": (
        f"{PROTOCOL}status_tells_the_app_as_it_is",
        "unit/report/test_status.py::test_what_is_going_on",
    ),
    "A result of an earlier upload of the same name is removed as soon as new bytes under that name are seen": (
        f"{PROTOCOL}new_bytes_outdate_the_result_at_once",
        f"{JUDGE}a_result_of_earlier_bytes_is_outdated_as_soon_as_new_ones_are_seen",
    ),
    "The newest keep_results results stay": (f"{PROTOCOL}the_newest_results_stay",),
    "Closed: a read lease is granted": (
        f"{AGENT}a_frozen_writer_is_not_touched",
        "unit/intake/test_wholeness.py::test_a_frozen_writer_keeps_it_open",
        f"{JUDGE}one_that_is_open_for_writing_waits_for_ever_without_a_verdict",
        CLIENTS,
    ),
    "Where leases cannot be had it must have been unchanged for settle": (
        f"{JUDGE}where_the_kernel_cannot_be_asked_it_settles",
        "box/test_obstacles.py::test_an_upload_that_the_agent_may_not_read_and_a_journal",
        "unit/cli/check/test_drop.py::test_which_proof_is_in_use",
    ),
    "A compressed stream ends with its checked trailer exactly at end of file": (
        f"{WHOLE}cut_at_every_byte_it_waits_for_more",
        f"{WHOLE}nothing_may_follow",
        f"{WHOLE}members_may_follow_each_other",
    ),
    "a tar with its end-of-archive blocks": (
        f"{WHOLE}a_tar_may_be_cut_after_its_two_blocks_of_zeros_and_not_before",
        f"{WHOLE}a_tar_with_something_after_its_end",
    ),
    "a zip with its central directory and every member's CRC": (
        f"{WHOLE}any_flipped_bit_of_a_zip_is_noticed_or_harmless",
        "unit/releases/test_zipball.py::test_headers_that_contradict_the_directory",
    ),
    "A truncated or damaged file is never live": (
        f"{WHOLE}what_one_checksum_covers_is_sealed",
        f"{DROP}what_was_written_in_pieces",
        f"{REAL}cut_at_200_random_places",
        f"{REAL}a_byte_changed_at_200_random_places",
        f"{UPLOADS}a_plain_tar_that_was_written_in_pieces_needs_a_word",
        "unit/intake/test_provenance.py::test_in_one_go_or_in_pieces",
        CLIENTS,
    ),
    "With completion = ready only NAME.ready starts it": (f"{JUDGE}completion_ready_waits_for_the_marker",),
    "With checksum = required or signature = required the sidecar must be there too and match": (
        f"{SIGNED}a_required_checksum_is_waited_for",
        f"{SIGNED}an_unsigned_build_waits_and_goes_on_when_it_is_signed",
        f"{SIGNED}what_is_not_properly_signed_never_gets_a_release",
        f"{DROP}a_required_checksum_that_is_taken_away_is_missed",
    ),
    "it is checked over the very bytes that were extracted": (
        "unit/releases/test_store.py::test_the_tap_gets_every_byte",
        f"{DROP}an_upload_is_held_against_writers_and_judged",
        f"{DROP}a_link_planted_in_its_place_is_not_followed",
    ),
    "Sidecars and upload may arrive in any order": (
        f"{SIGNED}a_signed_build_is_deployed_whichever_comes_first",
        "unit/intake/test_judge_machine.py::test_uploaders_may_do_as_they_please",
    ),
    "Damaged: rejected at once, corrupt-upload; judged anew when it changes": (
        f"{AGENT}a_corrupt_upload_is_rejected_at_once",
    ),
    "Short: it waits, after stall it gets an incomplete result; when it changes or is replaced, it is judged anew": (
        f"{AGENT}a_short_upload_waits_and_goes_on",
        f"{JUDGE}a_short_upload_waits_and_is_answered_when_it_stalls",
        f"{JUDGE}a_short_upload_that_grows_is_judged_anew",
    ),
    "A bad upload never delays another app's, nor another upload of the same app": (
        f"{JUDGE}a_short_upload_does_not_hold_up_another",
        f"{MANY}an_upload_of_ten_thousand_directories",
        f"{MANY}an_upload_that_takes_long_holds_up_no_other_app",
    ),
    "An upload that changes while it is read is dropped from the work and judged anew": (
        f"{DROP}a_writer_while_it_is_read_is_noticed",
        "unit/releases/test_zipball.py::test_a_file_that_changes_while_it_is_read",
        CLIENTS,
    ),
    "Uploads that arrived while the agent was down are found at start": (
        f"{LIFE}uploads_that_came_while_it_was_down_are_found",
        "box/test_life.py::test_what_came_while_the_agent_was_down",
    ),
    "What was already answered is not answered again": (
        f"{LIFE}what_was_answered_is_not_answered_again",
        f"{PROTOCOL}after_keep_leaves_the_upload_and_does_not_repeat_it",
        f"{PROTOCOL}times_set_during_the_deploy_do_not_bring_a_second_one",
    ),
    "An archive that was deployed is deleted, with its sidecars (after = delete, or keep)": (
        f"{UPLOADS}a_deployed_archive_goes_when_nothing_was_done_to_it_for_settle",
        f"{UPLOADS}a_deployed_archive_that_was_due_goes_after_a_restart",
        f"{DROP}clearing_away_a_deployed_archive_takes_its_sidecars",
        f"{PROTOCOL}after_keep_leaves_the_upload_and_does_not_repeat_it",
    ),
    "One that failed stays": (f"{DROP}a_failed_upload_stays_and_its_marker_goes",),
    "An uploaded directory stays, so that the next rsync sends only differences; its .ready is consumed": (
        f"{AGENT}a_directory_goes_with_its_marker_and_stays",
        f"{DROP}a_directory_stays_and_a_newer_marker_too",
    ),
    "Deploys of one app run one after the other in the order in which they became whole": (
        f"{PROTOCOL}one_after_the_other_in_the_order_of_arrival",
        f"{JUDGE}uploads_are_in_the_order_in_which_they_became_ready",
    ),
    "different apps run side by side up to concurrency": (
        f"{MANY}500_apps_and_100_uploads_at_once",
        "unit/lanes/test_slots.py::test_who_finds_none_is_woken_in_order",
    ),
    "With queue = latest a newer upload supersedes those still waiting": (f"{PROTOCOL}only_the_latest",),
}

WHAT_AN_ARCHIVE_MAY_CONTAIN = {
    "Regular files, directories, and symbolic or hard links that stay inside the release": (
        f"{HOSTILE}what_looks_alike_is_fine",
        f"{HOSTILE}hard_links",
        "unit/releases/test_links.py::test_what_passes_stays_inside_for_the_kernel",
    ),
    "Refused as unsafe-entry, with the entry named and nothing left behind": (
        f"{HOSTILE}a_trick_is_refused_for_what_it_is",
        "unit/releases/test_store.py::test_a_refused_upload_leaves_nothing",
        "unit/releases/test_store.py::test_an_unsafe_entry_is_named",
        f"{AGENT}an_unsafe_entry",
    ),
    "absolute names, .., links that leave, an entry written through a link, devices, FIFOs, sockets, invalid paths": (
        f"{HOSTILE}a_trick_is_refused_for_what_it_is",
        f"{HOSTILE}there_are_enough_tricks",
        "unit/releases/test_fuzz_corpus.py::test_the_corpus_is_unpacked_or_refused",
    ),
    "Set-id and sticky bits are dropped, owner write is kept, others' write is dropped; the executable bit is kept": (
        f"{HOSTILE}modes",
        f"{HOSTILE}modes_of_a_zip",
        f"{TREE}a_directory",
    ),
    "Owner and group in the archive are ignored": ("unit/releases/test_store.py::test_the_group_reaches_every_entry",),
    "Duplicates: the last one wins, as with tar": (f"{HOSTILE}the_last_of_a_name_wins",),
    "Limits (max_*) are enforced while unpacking, so a bomb stops early": (
        f"{HOSTILE}a_bomb_leaves_nothing",
        f"{HOSTILE}too_many_entries",
        f"{HOSTILE}too_many_bytes",
        f"{DROP}too_large_is_known_before_a_byte_is_read",
        f"{AGENT}a_bomb",
        "unit/releases/test_memory.py::test_peak_memory",
    ),
    "The same rules hold for uploaded directories": (
        f"{TREE}links_that_leave",
        f"{TREE}what_is_neither_file_nor_directory_nor_link",
        f"{TREE}limits",
        f"{TREE}too_deep",
        f"{TREE}a_directory",
    ),
}

PROMISES = {**THE_DROP_DIRECTORY, **WHAT_AN_ARCHIVE_MAY_CONTAIN}


@cache
def functions_in(file: str) -> frozenset[str]:
    """The functions that pytest finds in a file below tests/."""
    tree = ast.parse((TESTS / file).read_text())
    found = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in found if name.startswith("test_"))


@pytest.mark.parametrize("sentence", PROMISES)
def test_each_sentence_has_its_tests(sentence: str) -> None:
    assert PROMISES[sentence]
    for node in PROMISES[sentence]:
        file, _, name = node.partition("::")
        assert name in functions_in(file), f"{node} is gone"
