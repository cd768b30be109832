import pytest

from node.metrics import LABELS_MAX, Metrics


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"assay_{name}", labels)


def test_two_nodes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.committed(500)
    assert sample(one, "transactions_committed_total") == 500
    assert sample(one, "blocks_committed_total") == 1
    assert sample(other, "transactions_committed_total") == 0


def test_a_rise_of_the_view_counts_as_a_view_change_and_the_first_view_does_not() -> None:
    metrics = Metrics()
    for view in (3, 3, 4, 6):
        metrics.view(view)
    assert sample(metrics, "view") == 6
    assert sample(metrics, "view_changes_total") == 2


@pytest.mark.parametrize("kind", ["ignored", "refused", "accused"])
def test_unknown_reasons_beyond_the_limit_are_counted_together(kind: str) -> None:
    metrics = Metrics()
    count = getattr(metrics, kind)
    for number in range(LABELS_MAX + 10):
        count(f"reason {number}")
    count("reason 0")
    text = metrics.render().decode()
    lines = [line for line in text.splitlines() if "_total{" in line and '="reason ' in line]
    others = [line for line in text.splitlines() if '="other"' in line and "_total{" in line]
    assert len(lines) == LABELS_MAX
    assert [line.rpartition(" ")[2] for line in others] == ["10.0"]
    assert '="reason 0"} 2.0' in text


def test_labels_beyond_the_limit_do_not_grow_the_memory_of_the_node() -> None:
    metrics = Metrics()
    for number in range(10 * LABELS_MAX):
        metrics.ignored(f"reason {number}")
    assert len(metrics._ignored._children) <= LABELS_MAX + 1


def test_everything_that_is_counted_is_rendered_for_prometheus() -> None:
    metrics = Metrics()
    metrics.height(52, 51)
    metrics.mempool(3, 700)
    metrics.latencies([0.004, 0.2])
    metrics.fsync(0.0003)
    metrics.verified(64, 0.003)
    metrics.syncing(10, 52)
    metrics.peers(3)
    metrics.bytes_in(10)
    metrics.bytes_out(20)
    metrics.answered("/v1/status", 200)
    text = metrics.render().decode()
    for line in (
        "assay_height 52.0",
        "assay_certified_height 51.0",
        "assay_mempool_bytes 700.0",
        "assay_commit_latency_seconds_count 2.0",
        'assay_fsync_seconds_bucket{le="0.0005"} 1.0',
        'assay_verify_batch_size_bucket{le="64.0"} 1.0',
        "assay_sync_target_height 52.0",
        "assay_peer_bytes_out_total 20.0",
        'assay_api_answers_total{answer="/v1/status 200"} 1.0',
    ):
        assert line in text
