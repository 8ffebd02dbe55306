from typing import Any

from caseprep_pipelines.speech.documents import (
    ChannelTranscript,
    DiarizationSettings,
    FlaggedSpan,
    RawTranscript,
    Segment,
    SpeakerTurns,
    Suspicion,
    Turn,
    Word,
)
from caseprep_pipelines.transcript.assembly import UTTERANCE_PAUSE_SECONDS, assemble
from caseprep_pipelines.transcript.document import (
    DEMO_NOTICE,
    MACHINE_DRAFT_NOTICE,
    Transcript,
    WordFlag,
)
from caseprep_pipelines_tests.samples import SPOKEN, sample_audio, sample_raw, sample_source, sample_turns

Said = tuple[str, float]


def words_of(transcript: Transcript) -> list[str]:
    return [word.text for utterance in transcript.utterances for word in utterance.words]


def test_who_said_what_is_what_was_spoken() -> None:
    transcript = assemble(sample_source(), sample_audio(), sample_raw(), sample_turns())
    said = [(utterance.speaker, utterance.start, utterance.text) for utterance in transcript.utterances]
    # the interjection lies inside a long question; the others speak alone
    assert [said[0], said[1], said[-1]] == [(who, start, text) for who, start, _, text in (*SPOKEN[:2], SPOKEN[4])]
    assert {word.text for u in transcript.utterances if u.speaker == "SPEAKER_02" for word in u.words} >= {
        "Objection,",
        "compound.",
    }


def test_it_says_what_it_was_made_from() -> None:
    raw, turns = sample_raw(), sample_turns()
    transcript = assemble(sample_source(), sample_audio(), raw, turns)
    assert transcript.sources.original_sha256 == sample_source().sha256
    assert transcript.sources.raw_transcript_sha256 == raw.digest()
    assert transcript.sources.speaker_turns_sha256 == turns.digest()
    assert transcript.matter == sample_source().matter
    assert transcript.languages == ("en",)
    assert Transcript.from_bytes(transcript.to_bytes()) == transcript


def test_every_transcript_is_a_machine_draft_and_demo_models_are_named() -> None:
    made = assemble(sample_source(), sample_audio(), sample_raw(), sample_turns())
    assert made.notices == (MACHINE_DRAFT_NOTICE, DEMO_NOTICE)
    real = sample_raw().model.model_copy(update={"demo": False})
    both_real = assemble(sample_source(), sample_audio(), sample_raw(model=real), sample_turns(model=real))
    assert both_real.notices == (MACHINE_DRAFT_NOTICE,)
    one_demo = assemble(sample_source(), sample_audio(), sample_raw(model=real), sample_turns())
    assert DEMO_NOTICE in one_demo.notices


def test_suspicions_reach_the_reader() -> None:
    transcript = assemble(sample_source(), sample_audio(), sample_raw(), sample_turns())
    assert transcript.utterances[-1].flags == (Suspicion.LOW_PROBABILITY,)
    assert [stretch.flag for stretch in transcript.unspoken] == [Suspicion.SPEECH_WITHOUT_WORDS]
    doubtful = [w.text for u in transcript.utterances for w in u.words if WordFlag.LOW_PROBABILITY in w.flags]
    assert doubtful == ["not"]


def channel(index: int, *said: Said, flagged: tuple[FlaggedSpan, ...] = ()) -> ChannelTranscript:
    """A channel of sentences, each a segment whose words take 0.4 s."""
    segments = tuple(
        Segment(
            clip=number,
            start=start,
            end=start + 0.4 * len(text.split()),
            words=tuple(
                Word(text=word, start=round(start + 0.4 * at, 3), end=round(start + 0.4 * at + 0.4, 3), probability=0.9)
                for at, word in enumerate(text.split())
            ),
            average_log_probability=-0.1,
            compression_ratio=1.0,
        )
        for number, (text, start) in enumerate(said)
    )
    return ChannelTranscript(
        channel=index,
        language="en",
        language_probability=None,
        speech=(),
        clips=(),
        speech_ratio=0.5,
        snr_db=None,
        segments=segments,
        flagged=flagged,
    )


def turn(number: int, channel: int, start: float, end: float) -> Turn:
    return Turn(speaker=f"SPEAKER_{number:02d}", channel=channel, start=start, end=end)


def by_channel(*turns: Turn, bleed: tuple[Turn, ...] = ()) -> SpeakerTurns:
    return sample_turns(
        settings=DiarizationSettings(method="channel", channels=(0, 1), min_speakers=None, max_speakers=None),
        model=None,
        speakers=tuple(sorted({one.speaker for one in turns})),
        turns=turns,
        exclusive_turns=turns,
        bleed=bleed,
    )


def made(turns: SpeakerTurns, *channels: ChannelTranscript, **changes: Any) -> Transcript:
    raw: RawTranscript = sample_raw(channels=channels, **changes)
    transcript = assemble(sample_source(), sample_audio(), raw, turns)
    everything = [w.text for u in (*transcript.utterances, *transcript.other_hearings) for w in u.words]
    assert sorted(everything) == sorted(w.text for c in channels for s in c.segments for w in s.words)
    assert [u.index for u in transcript.utterances] == list(range(len(transcript.utterances)))
    assert [u.start for u in transcript.utterances] == sorted(u.start for u in transcript.utterances)
    return transcript


def test_channels_are_told_in_order_of_time() -> None:
    turns = by_channel(turn(0, 0, 1, 3), turn(1, 1, 4, 6), turn(0, 0, 7, 9))
    transcript = made(
        turns,
        channel(0, ("Are you okay?", 1.0), ("My court date is Monday.", 7.0)),
        channel(1, ("Yes, I am.", 4.0)),
    )
    assert [(u.speaker, u.text) for u in transcript.utterances] == [
        ("SPEAKER_00", "Are you okay?"),
        ("SPEAKER_01", "Yes, I am."),
        ("SPEAKER_00", "My court date is Monday."),
    ]
    assert [(s.label, s.channel, s.words, s.speech_seconds) for s in transcript.speakers] == [
        ("SPEAKER_00", 0, 8, 4.0),
        ("SPEAKER_01", 1, 3, 2.0),
    ]
    assert transcript.diarization_model is None


COURT = by_channel(turn(0, 0, 1, 3), turn(1, 1, 4, 6), bleed=(turn(0, 1, 1, 3),))


def test_words_heard_through_anothers_microphone_stand_in_the_text_once() -> None:
    transcript = made(
        COURT,
        channel(0, ("Please be seated.", 1.0)),
        channel(1, ("please be seated", 1.1), ("Thank you.", 4.0)),
    )
    assert [(u.speaker, u.text) for u in transcript.utterances] == [
        ("SPEAKER_00", "Please be seated."),
        ("SPEAKER_01", "Thank you."),
    ]
    assert [(u.channel, u.text) for u in transcript.other_hearings] == [(1, "please be seated")]


def test_other_words_in_bleed_stay_in_the_text_and_are_marked() -> None:
    transcript = made(COURT, channel(0, ("Please be seated.", 1.0)), channel(1, ("I object", 1.1)))
    assert [u.text for u in transcript.utterances] == ["Please be seated.", "I object"]
    assert all(WordFlag.POSSIBLE_BLEED in word.flags for word in transcript.utterances[1].words)
    assert transcript.other_hearings == ()


def test_the_same_words_said_by_two_people_at_once_are_both_in_the_text() -> None:
    turns = by_channel(turn(0, 0, 1, 3), turn(1, 1, 1, 3))
    transcript = made(turns, channel(0, ("I do.", 1.0)), channel(1, ("I do.", 1.0)))
    assert words_of(transcript) == ["I", "do.", "I", "do."]
    assert all(WordFlag.OVERLAP in word.flags for u in transcript.utterances for word in u.words)


def test_bleed_without_words_needs_no_listener() -> None:
    unheard = FlaggedSpan(start=1.2, end=2.9, flag=Suspicion.SPEECH_WITHOUT_WORDS)
    transcript = made(COURT, channel(0, ("Please be seated.", 1.0)), channel(1, flagged=(unheard,)))
    assert transcript.unspoken == ()
    transcript = made(COURT, channel(0, ("Please be seated.", 1.0), flagged=(unheard,)), channel(1))
    assert [(stretch.channel, stretch.start) for stretch in transcript.unspoken] == [(0, 1.2)]


def test_two_microphones_in_one_room_give_one_text() -> None:
    turns = sample_turns(turns=(turn(0, 0, 0, 20),), exclusive_turns=(turn(0, 0, 0, 20),), speakers=("SPEAKER_00",))
    transcript = made(
        turns,
        channel(0, ("I signed the letter", 1.0), ("on the fourth", 5.0)),
        channel(1, ("I sighed the ladder", 1.05), ("quietly", 12.0)),
    )
    assert [u.text for u in transcript.utterances] == ["I signed the letter", "on the fourth", "quietly"]
    assert [u.text for u in transcript.other_hearings] == ["I sighed the ladder"]


def test_a_long_pause_begins_a_new_utterance() -> None:
    turns = sample_turns(turns=(turn(0, 0, 0, 20),), exclusive_turns=(turn(0, 0, 0, 20),), speakers=("SPEAKER_00",))
    pause = UTTERANCE_PAUSE_SECONDS
    close = made(turns, channel(0, ("I was", 1.0), ("there.", 1.8 + pause)))
    apart = made(turns, channel(0, ("I was", 1.0), ("there.", 1.9 + pause)))
    assert [u.text for u in close.utterances] == ["I was there."]
    assert [u.text for u in apart.utterances] == ["I was", "there."]


def test_a_silent_recording_has_an_empty_transcript() -> None:
    silent = sample_turns(turns=(), exclusive_turns=(), speakers=())
    transcript = made(silent, channel(0))
    assert (transcript.utterances, transcript.speakers, transcript.unspoken) == ((), (), ())


def test_a_turn_without_words_of_its_speaker_is_marked() -> None:
    """What another voice drowned has no words, and the words of that voice do not hide it."""
    raw = sample_raw().model_copy(
        update={"channels": (channel(0, ("Yankee down here", 1.0), ("Oh I do not hear that in New Jersey", 2.4)),)}
    )
    turns = (turn(0, 0, 1.0, 4.0), turn(1, 0, 2.3, 6.0), turn(2, 0, 7.0, 8.5))
    exclusive = (turn(0, 0, 1.0, 2.3), turn(1, 0, 2.3, 6.0), turn(2, 0, 7.0, 8.5))
    told = sample_turns(speakers=("SPEAKER_00", "SPEAKER_01", "SPEAKER_02"), turns=turns, exclusive_turns=exclusive)
    found = [(gap.start, gap.end) for gap in assemble(sample_source(), sample_audio(), raw, told).unspoken]
    assert found == [(2.5, 4.0), (7.0, 8.5)]


def test_an_utterance_is_in_one_language() -> None:
    english, spanish = channel(0, ("Did you see him?", 1.0)), channel(0, ("Sí lo vi", 3.0))
    segments = (
        *(segment.model_copy(update={"language": "en"}) for segment in english.segments),
        *(segment.model_copy(update={"language": "es"}) for segment in spanish.segments),
    )
    raw = sample_raw().model_copy(update={"channels": (english.model_copy(update={"segments": segments}),)})
    one = (turn(0, 0, 0.9, 4.5),)
    transcript = assemble(sample_source(), sample_audio(), raw, sample_turns(turns=one, exclusive_turns=one))
    assert [(said.language, said.text) for said in transcript.utterances] == [
        ("en", "Did you see him?"),
        ("es", "Sí lo vi"),
    ]
    assert transcript.languages == ("en", "es")
