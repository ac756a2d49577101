"""Published benchmarks as their authors lay them out, with three questions each."""

import base64
import io

from tests.evaluation.published.files import lines, whole
from tests.parts import picture

from lapilli.evaluation.published.mme import COGNITION, PERCEPTION

N = 3
TEN = [{"answer": "red"}] * 10


def pictures(folder, names):
    for at, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(at).save(folder / name)


def coco_pope(folder):
    rows = [
        {"question_id": at, "image": f"{at}.png", "text": "Is there a dog?", "category": split}
        for at, split in enumerate(("adversarial", "popular", "random"))
    ]
    (folder / "coco").mkdir()
    for row in rows:
        lines(folder / f"coco/coco_pope_{row['category']}.json", [row | {"label": "yes"}])
    lines(folder / "llava_pope_test.jsonl", rows)
    pictures(folder / "val2014", [row["image"] for row in rows])


def gqa(folder):
    lines(
        folder / "llava_gqa_testdev_balanced.jsonl",
        [{"question_id": str(at), "image": f"{at}.png", "text": "What?"} for at in range(N)],
    )
    (folder / "data").mkdir()
    whole(
        folder / "data/testdev_balanced_questions.json", {str(at): {"answer": "red", "imageId": "1"} for at in range(N)}
    )
    pictures(folder / "data/images", [f"{at}.png" for at in range(N)])


def vqav2(folder):
    rows = [{"question_id": 10 + at, "image_id": at, "question": "What?"} for at in range(N)]
    whole(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": rows})
    whole(folder / "v2_mscoco_val2014_annotations.json", {"annotations": [row | {"answers": TEN} for row in rows]})
    pictures(folder / "val2014", [f"COCO_val2014_{at:012}.jpg" for at in range(N)])


def vizwiz(folder):
    (folder / "Annotations").mkdir()
    rows = [{"image": f"VizWiz_val_{at:08}.jpg", "question": "What?", "answers": TEN} for at in range(N)]
    whole(folder / "Annotations/val.json", rows)
    pictures(folder / "val", [row["image"] for row in rows])


def textvqa(folder):
    rows = [{"question_id": "a", "image": "a.jpg", "text": f"What {at}?\nAnswer briefly."} for at in range(N)]
    lines(folder / "llava_textvqa_val_v051_ocr.jsonl", rows)
    labels = [{"image_id": "a", "question": f"What {at}?", "answers": ["red"] * 10} for at in range(N)]
    whole(folder / "TextVQA_0.5.1_val.json", {"data": labels})
    pictures(folder / "train_images", ["a.jpg"])


def scienceqa(folder):
    turns = [{"from": "human", "value": "<image>\nWhat?\nA. x\nB. y"}, {"from": "gpt", "value": "A"}]
    rows = [{"id": str(at), "conversations": turns} | ({"image": f"{at}/image.png"} if at else {}) for at in range(N)]
    whole(folder / "llava_test_CQM-A.json", rows)
    problem = {"answer": 0, "choices": ["x", "y"], "split": "test"}
    whole(folder / "problems.json", {str(at): problem | {"image": "image.png" if at else None} for at in range(N)})
    pictures(folder / "images/test", [f"{at}/image.png" for at in range(1, N)])


def mme(folder):
    (folder / "eval_tool/Your_Results").mkdir(parents=True)
    for task in (*PERCEPTION, *COGNITION):
        (folder / f"eval_tool/Your_Results/{task}.txt").write_text("1.jpg\tIs it?  Please answer yes or no.\tYes\n")
    short = " Please answer yes or no.\nAnswer the question using a single word or phrase."
    rows = [
        {"question_id": f"{task}/1.png", "image": f"{task}/1.jpg", "text": f"Is it?{short}"} for task in PERCEPTION[:N]
    ]
    lines(folder / "llava_mme.jsonl", rows)
    pictures(folder / "MME_Benchmark_release_version", [row["image"] for row in rows])


def seed(folder):
    rows = [{"question_id": at, "image": f"SEED-Bench-image/{at}.png", "text": "What?\nA. x"} for at in range(N)]
    lines(folder / "llava-seed-bench.jsonl", rows)
    labels = [{"question_id": str(at), "answer": "A", "data_type": "image", "question_type_id": 1} for at in range(N)]
    whole(folder / "SEED-Bench.json", {"questions": labels, "question_type": {"Scene": 1}})
    pictures(folder, [row["image"] for row in rows])


def cell(at=0, kind="PNG"):
    """A picture as a table has it."""
    content = io.BytesIO()
    picture(at).save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


MMBENCH = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "l2-category"]


def table(file, rows):
    """The authors' table; cells that a row lacks are empty."""
    cells = ("\t".join(str(row.get(name, "")) for name in MMBENCH) for row in rows)
    file.write_text("\n".join(["\t".join(MMBENCH), *cells]) + "\n", encoding="utf-8")


def mmbench(folder, name="mmbench_dev_20230712.tsv"):
    """A question of two choices with its rotation, and one with a hint that is asked once."""
    rows = [
        {"index": 7, "question": "What is it?", "A": "ring", "B": "star", "answer": "A", "image": cell(0)},
        {"index": 1_000_007, "question": "What is it?", "A": "star", "B": "ring", "answer": "B", "image": cell(0)},
        {"index": 8, "question": "Where?", "hint": "A map.", "A": "here", "B": "there", "answer": "A", "image": 7},
    ]
    table(folder / name, [row | {"category": "object"} for row in rows])


def mmbench_cn(folder):
    mmbench(folder, "mmbench_dev_cn_20231003.tsv")


def cocoqa(folder):
    (folder / "test").mkdir()
    columns = {
        "questions": ["what color is it", "how many are there ?", "where is it"],
        "answers": ["red", "two", "bed"],
    }
    columns |= {"img_ids": ["5", "5", "524286"], "types": ["2", "1", "3"]}
    for name, cells in columns.items():
        (folder / f"test/{name}.txt").write_text("\n".join(cells) + "\n")
    pictures(folder / "val2014", ["COCO_val2014_000000000005.jpg", "COCO_val2014_000000524286.jpg"])


def captions(folder):
    (folder / "annotations").mkdir()
    rows = [{"id": at, "file_name": f"COCO_val2014_{at:012}.jpg"} for at in range(N)]
    texts = ["a red ring lies on a table", "two dogs run over the grass", "a man rides a horse"]
    labels = [{"image_id": at, "id": at, "caption": text} for at, text in enumerate(texts)]
    whole(folder / "annotations/captions_val2014.json", {"images": rows, "annotations": labels})
    pictures(folder / "val2014", [row["file_name"] for row in rows])


def llava_bench_coco(folder):
    rows = [
        {"question_id": at, "image": f"{at:012}.jpg", "text": "What?", "category": kind}
        for at, kind in enumerate(("conv", "detail", "complex"))
    ]
    lines(folder / "qa90_questions.jsonl", rows)
    pictures(folder / "val2014", [f"COCO_val2014_{row['image']}" for row in rows])


def llava_bench_wild(folder):
    rows = [{"question_id": at, "image": f"00{at}.jpg", "text": "What?", "category": "conv"} for at in range(N)]
    lines(folder / "questions.jsonl", rows)
    pictures(folder / "images", [row["image"] for row in rows])


def mm_vet(folder):
    rows = {
        f"v1_{at}": {
            "imagename": f"v1_{at}.png",
            "question": "What?",
            "answer": "red",
            "capability": ["rec", "ocr"][:at],
        }
        for at in range(N)
    }
    whole(folder / "mm-vet.json", rows)
    pictures(folder / "images", [row["imagename"] for row in rows.values()])


LAID_OUT = {
    "coco-pope": coco_pope, "gqa": gqa, "vqav2": vqav2, "vizwiz": vizwiz, "textvqa": textvqa, "scienceqa": scienceqa,
    "mme": mme, "seed": seed, "mmbench": mmbench, "mmbench-cn": mmbench_cn, "cocoqa": cocoqa, "captions": captions,
    "llava-bench-coco": llava_bench_coco, "llava-bench-wild": llava_bench_wild, "mm-vet": mm_vet,
}  # fmt: skip
