"""Settings: precedence, messages, and what is refused."""

import re

import pytest
from pydantic import ValidationError

from pipeline.config.load import find_study, load_settings, studies
from pipeline.config.motion import EmbeddedMotion, NoMotion
from pipeline.config.regions import Regions
from pipeline.core.errors import ConfigError
from pipeline.kinetics import Logan, Mrtm1


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("[motion]\nsmoothing_fwhm_mm = 3\n[resources]\nn_procs = 4\n")
    settings = load_settings(str(path), ["resources.n_procs=2"])
    assert settings.motion == EmbeddedMotion(smoothing_fwhm_mm=3)
    assert settings.resources.n_procs == 2


def test_an_override_may_be_text_or_toml():
    settings = load_settings(None, ["motion.backend=none", 'group.sessions=["a", "b"]'])
    assert settings.motion == NoMotion()
    assert settings.group.sessions == ("a", "b")


def test_every_problem_is_told_at_once_with_the_nearest_name(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        "[[kinetics.models]]\nmodel = 'srtm'\nk2a_mim = 0.1\n[resources]\nn_procs = 0\n"
        "[motion]\nbackend = 'mcflurt'\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(str(path))
    text = str(caught.value)
    assert text.startswith("bad.toml: 3 problem(s)")
    assert "kinetics.models.0.srtm.k2a_mim: no such setting; did you mean 'k2a_min'?" in text
    assert "resources.n_procs: Input should be greater than or equal to 1" in text
    assert "'mcflurt'" in text


@pytest.mark.parametrize("override", ["motion", "=3", "motion.=1", "motion.backend.x=1"])
def test_a_malformed_override_is_refused(override):
    with pytest.raises(ConfigError):
        load_settings(None, ["motion.backend=none", override])


def test_models_go_by_name_or_with_their_options():
    text = 'kinetics.models=["mrtm1", {model = "logan", tstar_min = 30}]'
    assert load_settings(None, [text]).kinetics.models == (Mrtm1(), Logan(tstar_min=30))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ('["srtm", "srtm"]', "named twice"),
        ('["wapi"]', "wapi fits images"),
        ("[]", "name at least one"),
        ('["srtn"]', "srtn"),
    ],
)
def test_models_that_make_no_sense_are_refused(models, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(None, [f"kinetics.models={models}"])


def test_a_model_of_images_needs_maps():
    with pytest.raises(ConfigError, match="maps = true"):
        load_settings(None, ['kinetics.models=["srtm", "wapi"]', "kinetics.maps=false"])


@pytest.mark.parametrize("values", ["[]", "[0]", "[4, -2]"])
def test_distances_of_points_are_some_and_positive(values):
    words = ["coregistration.backend=spm", f"coregistration.separation_mm={values}"]
    with pytest.raises(ConfigError, match=r"coregistration\.separation_mm"):
        load_settings(None, words)


def test_what_a_backend_knows_is_named():
    with pytest.raises(ConfigError, match=r"motion\.smoothing: .*; known: .*cost"):
        load_settings(None, ["motion.backend=fsl", "motion.smoothing=1"])
    with pytest.raises(ConfigError, match=r"motion\.cots: .*; did you mean 'cost'\?"):
        load_settings(None, ["motion.backend=fsl", "motion.cots=normcorr"])


def test_options_of_another_backend_are_refused():
    with pytest.raises(ConfigError, match=r"motion\.smoothing_fwhm_mm"):
        load_settings(None, ["motion.backend=none", "motion.smoothing_fwhm_mm=3"])


def test_frames_are_left_out_of_every_scan_or_of_named_ones():
    words = [
        "scan.drop_frames=[0]",
        "scan.drop_frames_of.sub-01_ses-pre=[3, 4]",
        "scan.end_s=3600",
    ]
    scan = load_settings(None, words).scan
    assert scan.drop_frames == (0,)
    assert scan.drop_frames_of == {"sub-01_ses-pre": (3, 4)}
    assert (scan.start_s, scan.end_s) == (None, 3600)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scan.drop_frames=[-1]", r"scan\.drop_frames\.0"),
        ("scan.drop_frames_of.ses-pre=[1]", "is no session"),
        ("scan.join_run=true", "did you mean 'join_runs'"),
    ],
)
def test_frames_that_cannot_be_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(None, [override])


def test_a_scan_ends_after_it_starts():
    with pytest.raises(ConfigError, match="start_s must come before end_s"):
        load_settings(None, ["scan.start_s=600", "scan.end_s=60"])


def test_a_list_of_sessions_to_correct_and_its_mode_belong_together():
    listed = ["motion.mode=listed", 'motion.sessions=["sub-01_ses-pre", "sub-02"]']
    assert load_settings(None, listed).motion.sessions == ("sub-01_ses-pre", "sub-02")
    for part in listed:
        with pytest.raises(ConfigError, match="belong together"):
            load_settings(None, [part])
    with pytest.raises(ConfigError, match="'01' is no session"):
        load_settings(None, ["motion.mode=listed", 'motion.sessions=["01"]'])


def test_unknown_labels_and_repeated_names_are_refused():
    with pytest.raises(ValidationError, match="no FreeSurfer label has number 3"):
        Regions.model_validate({"labels": {"X": [3]}})
    with pytest.raises(ValidationError, match="used twice"):
        Regions.model_validate({"labels": {"hip": [17], "HIP": [53]}})


def test_every_study_loads():
    assert "tiger2020" in studies()
    for name in studies():
        load_settings(name)


def test_the_paper_study_has_the_regions_of_the_paper():
    regions = load_settings("tiger2020").regions
    assert set(regions.labels) | set(regions.mni) == {"ACC", "HIP", "VST", "DBS"}
    assert regions.reference.labels == (8, 47)
    assert regions.reference.recipe == "planes"


def test_the_paper_study_names_the_programs_of_the_paper_and_its_twin_none():
    paper, own = load_settings("tiger2020"), load_settings("tiger2020-embedded")
    steps = ("anatomy", "parcellation", "normalisation", "motion", "coregistration")
    assert [getattr(paper, step).backend for step in steps] == [
        "spm", "freesurfer", "fsl", "spm", "spm"
    ]  # fmt: skip
    assert {getattr(own, step).backend for step in steps} == {"embedded", "anatomy"}
    assert paper.motion.mode == own.motion.mode == "auto"
    assert paper.regions == own.regions
    assert paper.group == own.group


def test_an_unknown_study_names_the_known_ones():
    with pytest.raises(ConfigError, match="tiger2020"):
        find_study("tiger2021")


def test_regions_in_mni_space_come_as_ellipsoid_or_image(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(
        "[regions.mni.DBS]\nimage = 'raphe.nii.gz'\nlabels = [3]\n"
        "[regions.mni.ball]\ncentre_mm = [0, 0, 0]\nradii_mm = [1, 2, 3]\n"
    )
    mni = load_settings(str(file)).regions.mni
    assert (mni["DBS"].image.name, mni["DBS"].labels) == ("raphe.nii.gz", (3,))
    assert mni["ball"].radii_mm == (1, 2, 3)


def test_given_labels_need_a_place_for_the_subject():
    given = ["parcellation.backend=given"]
    with pytest.raises(ConfigError, match=r"parcellation\.dseg: Field required"):
        load_settings(None, given)
    with pytest.raises(ConfigError, match="everyone would get the same"):
        load_settings(None, [*given, "parcellation.dseg=a/dseg.nii.gz"])
    with pytest.raises(ConfigError, match=r"only \{subject\} and \{session\}"):
        load_settings(None, [*given, "parcellation.dseg=sub-{subject}/{run}.nii.gz"])
    pattern = "fs/sub-{subject}/dseg.nii.gz"
    assert (
        load_settings(None, [*given, f"parcellation.dseg={pattern}"]).parcellation.dseg == pattern
    )


def test_an_empty_folder_stays_empty(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('[anatomy]\nbackend = "derivatives"\nfolder = ""\n')
    assert load_settings(str(path)).anatomy.folder == ""


def test_a_table_of_regions_replaces_and_an_override_adds(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("[regions.labels]\nMINE = [17]\n")
    assert set(load_settings(str(path)).regions.labels) == {"MINE"}
    added = load_settings(str(path), ["regions.labels.YOURS=[53]"]).regions.labels
    assert added == {"MINE": (17,), "YOURS": (53,)}
    regions = load_settings(
        None, ["regions.labels.MINE=[17]", "regions.mni.X.image=x.nii"]
    ).regions
    assert {"MINE", "HIP", "ACC"} <= set(regions.labels)
    assert set(regions.mni) == {"DBS", "X"}


def test_files_are_sought_from_the_folder_of_the_settings(tmp_path, monkeypatch):
    (tmp_path / "study").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = tmp_path / "study" / "study.toml"
    path.write_text(
        '[anatomy]\nbackend = "derivatives"\nfolder = "smriprep"\n'
        '[parcellation]\nbackend = "given"\ndseg = "mine/sub-{subject}.nii.gz"\n'
        '[regions.mni.LST]\nimage = "atlas.nii.gz"\n'
    )
    settings = load_settings(str(path), ["regions.mni.Y.image=other.nii.gz"])
    assert settings.anatomy.folder == "../study/smriprep"
    assert settings.parcellation.dseg == "../study/mine/sub-{subject}.nii.gz"
    assert settings.regions.mni["LST"].image.as_posix() == "../study/atlas.nii.gz"
    assert settings.regions.mni["Y"].image.as_posix() == "other.nii.gz"


def test_subjects_of_freesurfer_count_from_the_file(tmp_path, monkeypatch):
    (tmp_path / "study").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "study" / "a.toml"
    for text, expected in (
        ("", ""),
        ('subjects_dir = ""\n', ""),
        ('subjects_dir = "fs"\n', "../study/fs"),
        ('subjects_dir = "/data/fs"\n', "../" * len((tmp_path / "here").parts[1:]) + "data/fs"),
    ):
        path.write_text(f'[parcellation]\nbackend = "freesurfer"\n{text}')
        assert load_settings(str(path)).parcellation.subjects_dir == expected


@pytest.mark.parametrize("name", ["sub-01", "{subject} x", "{subject}/{session}", "{run}"])
def test_a_name_of_subjects_has_to_tell_them_apart(name):
    freesurfer = ["parcellation.backend=freesurfer", f"parcellation.subject={name}"]
    with pytest.raises(ConfigError, match=r"parcellation\.subject: "):
        load_settings(None, freesurfer)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "regions.reference={recipe='distance', above_pons_floor=true}",
            r"regions\.reference\.above_pons_floor: no such setting; known: .*least_grey",
        ),
        ("regions.labels.HIP=hippocampus", r"labels\.HIP: a list is expected, as in \[17, 53\]"),
        ("regions.labels.HIP=[]", "without a label"),
        ("regions.reference.labels=[]", "without a label"),
        ("parcellation.dseg=mine.nii", r"parcellation\.dseg: .* set parcellation\.backend"),
        ("anatomy.folder=mine", r"anatomy\.folder: .* set anatomy\.backend = 'derivatives' too"),
    ],
)
def test_a_wrong_value_says_what_would_do(override, told):
    with pytest.raises(ConfigError, match=told):
        load_settings(None, [override])


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("coregistration.init=somewhere", "'header', 'identity' or a file"),
        ("coregistration.init=/x/{subject}_{visit}.txt", "only {subject} and {session}"),
    ],
)
def test_starts_of_coregistration_that_cannot_be(override, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)):
        load_settings(None, (override,))


def test_a_place_without_search_cannot_start_from_headers():
    with pytest.raises(ConfigError, match="'identity' or a file"):
        load_settings(None, ("coregistration.backend=none", "coregistration.init=header"))
