"""What each option of `jax.config`, and each context manager of JAX, does to a function of `sod2.jit`: one table.

* `OPTIONS` names every option of `jax.config` and everything else that a trace of JAX depends on; `CONTEXTS` the context managers
  that are no options. A test fails when JAX has one that is missing here.
* What JAX's trace context holds is part of the key of a version: a call under another value compiles anew, as under `jax.jit`.
* `check` refuses by name what would change a result and is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jax

from sod2jax import state_compat
from sod2jax.errors import not_yet


class How(StrEnum):
    """How an option acts."""

    KEY = "part of the key of a version"
    CALL = "read at each call"
    TRACE = "read when a version is traced, and not part of its key, as under jax.jit"
    COMPILE = "read when a version is compiled"
    JAX = "acts on arrays and contexts of JAX alone"
    REFUSED = "refused, and part of the key of a version"
    NONE = "no effect"


@dataclass(frozen=True)
class Switch:
    how: How
    why: str


_NO_XLA = "is for XLA, which computes islands only"
_NO_FILES = "XLA's executables on disk; sod2jax keeps none there"
_NO_DEVICE = "sod2jax runs on the CPU"
_ONE_PROCESS = "sod2jax runs in one process, on one device"
_LOCATIONS = "locations in StableHLO, which sod2jax does not write"
_ELSEWHERE = "is about another part of JAX, which functions of sod2.jit do not pass"
_TRACED = "changes what JAX traces"


def _rows(how: How, why: str, *names: str) -> dict[str, Switch]:
    return dict.fromkeys(names, Switch(how, why))


OPTIONS: dict[str, Switch] = {
    **_rows(
        How.KEY,
        _TRACED,
        *("jax_enable_x64", "jax_explicit_x64_dtypes", "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion"),
        *("jax_default_matmul_precision", "jax_threefry_partitionable", "jax_random_seed_offset", "jax_softmax_custom_jvp"),
        *("jax_high_dynamic_range_gumbel", "jax_check_static_indices", "jax_allow_f16_reductions", "eager_constant_folding"),
        *("jax_use_direct_linearize", "jax_remat3", "jax_custom_vjp3", "jax_mutable_array_checks", "jax_auto_pcast"),
        *("check_vma", "jax_remove_size_one_mesh_axis_from_type", "user_context", "axis_env_state"),
    ),
    **_rows(
        How.KEY,
        f"{_NO_XLA}; another value compiles anew, to the same code",
        *("jax_enable_pgle", "jax_pgle_profiling_runs", "jax_xla_profile_version", "jax_use_shardy_partitioner"),
        *("jax_embedded_constants_max_bytes", "jax_hlo_source_file_canonicalization_regex", "xla_metadata_context_manager"),
        *("compute_on_context_manager", "jax_threefry_gpu_kernel_lowering", "jax_use_emit_pipeline_primitive"),
        *("jax_ragged_dot_use_gpu_pallas_triton_lowering", "jax_pallas_enable_debug_checks", "jax_pallas_use_mosaic_gpu"),
        "pallas_tpu_interpret_mode_context_manager",
    ),
    "jax_debug_key_reuse": Switch(How.KEY, "calls go to jax.jit of the same function, which tracks the keys"),
    "jax_disable_jit": Switch(How.CALL, "the function runs op by op, as it stands; also part of the key"),
    "jax_debug_nans": Switch(How.CALL, "JAX checks results, and runs the function op by op for its error; nothing is donated"),
    "jax_debug_infs": Switch(How.CALL, "as jax_debug_nans"),
    **_rows(
        How.CALL,
        "guards what a call moves between host and device",
        *("jax_transfer_guard", "jax_transfer_guard_host_to_device", "jax_transfer_guard_device_to_device"),
        "jax_transfer_guard_device_to_host",
    ),
    "jax_no_tracing": Switch(How.CALL, "a call that would trace raises RuntimeError; one that a version fits runs"),
    "jax_no_execution": Switch(How.REFUSED, "RuntimeError, as from jax.jit; lowering and compiling are allowed"),
    "jax_default_device": Switch(How.REFUSED, f"unless it is the first CPU device, or 'cpu': {_NO_DEVICE}"),
    "mesh_context_manager": Switch(How.REFUSED, f"if the mesh has more than one device: {_ONE_PROCESS}"),
    "abstract_mesh_context_manager": Switch(How.REFUSED, "as mesh_context_manager"),
    "jax_scan3": Switch(How.REFUSED, "if True: scan is another, experimental primitive then"),
    "jax_use_simplified_jaxpr_constants": Switch(How.REFUSED, "if True: constants lie where sod2jax does not look for them yet"),
    **_rows(
        How.REFUSED,
        "if 'raise': JAX keeps the error in a mutable array outside of the function",
        *("jax_error_checking_behavior_nan", "jax_error_checking_behavior_divide", "jax_error_checking_behavior_oob"),
    ),
    **_rows(
        How.TRACE,
        _TRACED,
        *("jax_default_prng_impl", "jax_enable_custom_prng", "jax_legacy_prng_key", "jax_disable_bwd_checks"),
        *("jax_disable_vmap_shmap_error", "jax_log_checkpoint_residuals", "jax_experimental_unsafe_xla_runtime_errors"),
        *("jax_check_tracer_leaks", "jax_enable_checks", "jax_ragged_dot_use_ragged_dot_instruction", "jax_refs_to_pins"),
    ),
    "jax_log_compiles": Switch(How.COMPILE, "each compilation, its reason and its time, on the logger 'sod2jax', as warnings"),
    "jax_explain_cache_misses": Switch(How.COMPILE, "as jax_log_compiles: the reason is the explanation; see also cache_info()"),
    **_rows(
        How.JAX,
        "works on results, which are JAX's arrays, and on errors that pass JAX's frames",
        *("jax_array_garbage_collection_guard", "jax_traceback_filtering", "jax_tracer_error_num_traceback_frames"),
        *("jax_pprint_use_color", "jax_disallow_mesh_context_manager", "jax_thread_guard", "jax_debug_log_modules"),
    ),
    "jax_logging_level": Switch(How.NONE, "sets the level of JAX's own logger; sod2jax logs on the logger 'sod2jax'"),
    **_rows(
        How.NONE,
        _NO_XLA,
        *("jax_disable_most_optimizations", "jax_optimization_level", "jax_exec_time_optimization_effort"),
        *("jax_memory_fitting_effort", "jax_memory_fitting_level", "jax_compiler_enable_remat_pass"),
        *("jax_compiler_detailed_logging_min_ops", "jax_pgle_aggregation_percentile", "jax_cpu_enable_async_dispatch"),
        *("jax_dump_ir_to", "jax_dump_ir_modes", "jax_include_debug_info_in_dumps", "jax_send_traceback_to_runtime"),
        *("jax_captured_constants_warn_bytes", "jax_captured_constants_report_frames"),
    ),
    **_rows(
        How.NONE,
        _NO_FILES,
        *("jax_enable_compilation_cache", "jax_compilation_cache_dir", "jax_compilation_cache_check_contents"),
        *("jax_compilation_cache_expect_pgle", "jax_compilation_cache_include_metadata_in_key"),
        *("jax_compilation_cache_max_size", "jax_persistent_cache_enable_xla_caches", "jax_raise_persistent_cache_errors"),
        *("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes"),
        "jax_remove_custom_partitioning_ptr_from_cache_key",
    ),
    **_rows(
        How.NONE,
        _LOCATIONS,
        *("jax_include_full_tracebacks_in_locations", "jax_traceback_in_locations_limit", "jax_source_url_schema"),
    ),
    **_rows(
        How.NONE,
        _NO_DEVICE,
        *("jax_platforms", "jax_platform_name", "jax_xla_backend", "jax_backend_target", "jax_num_cpu_devices"),
        *("jax_cuda_visible_devices", "jax_rocm_visible_devices", "jax_oneapi_visible_devices", "jax_mock_gpu_topology"),
        *("mock_num_gpu_processes", "jax_use_magma", "jax_bcoo_cusparse_lowering", "jax_mosaic_allow_hlo"),
        *("jax_pallas_poison_buffers", "jax_pallas_verbose_errors", "jax_pjrt_client_create_options"),
    ),
    **_rows(
        How.NONE,
        _ONE_PROCESS,
        *("jax_check_proxy_envs", "jax_cpu_collectives_implementation", "jax_cpu_get_global_topology_timeout_minutes"),
        *("jax_cpu_get_local_topology_timeout_minutes", "jax_cross_host_transfer_socket_address", "jax_distributed_debug"),
        *("jax_cross_host_transfer_timeout_seconds", "jax_cross_host_transfer_transfer_size", "jax_enable_recoverability"),
        *("jax_cross_host_transport_addresses", "jax_enable_preemption_service", "jax_force_dcn_cross_host_transfers"),
        *("jax_share_binary_between_hosts", "jax_share_binary_between_hosts_timeout_ms", "jax_sort_devices_by_process_index"),
        "jax_debug_leaked_clients_on_clear_backends",
    ),
    **_rows(
        How.NONE,
        _ELSEWHERE,
        *("jax2tf_associative_scan_reductions", "jax2tf_default_native_serialization", "jax_serialization_version"),
        *("jax_export_calling_convention_version", "jax_export_ignore_forward_compatibility"),
    ),
}

CONTEXTS: dict[str, Switch] = {
    "jax.set_mesh, jax.sharding.use_abstract_mesh, with mesh": OPTIONS["mesh_context_manager"],
    "jax.make_user_context": OPTIONS["user_context"],
    "jax.ensure_compile_time_eval": Switch(How.TRACE, "inside of a function; around a call it changes nothing"),
    "jax.checking_leaks": OPTIONS["jax_check_tracer_leaks"],
    "jax.named_scope, jax.named_call": Switch(How.NONE, "names stand in the jaxpr; reports and errors name source lines"),
    "jax.profiler.trace, jax.profiler.annotate_function": Switch(How.NONE, "kernels of sod2jax do not stand in XLA's profiles"),
    "jax.experimental.compute_on": OPTIONS["compute_on_context_manager"],
}

_REFUSED_VALUES: dict[str, Any] = {
    "jax_scan3": True,
    "jax_use_simplified_jaxpr_constants": True,
    "jax_error_checking_behavior_nan": "raise",
    "jax_error_checking_behavior_divide": "raise",
    "jax_error_checking_behavior_oob": "raise",
}


def by_jax() -> bool:
    """Whether calls are for `jax.jit` of the same function just now."""
    return jax.config.jax_debug_key_reuse


def check(name: str, runs: bool = True) -> None:
    """Refuses to compile the function `name` (and to run it, where `runs`) under options that sod2jax does not honour.

    Raises UnsupportedError that names the option, and RuntimeError, as `jax.jit`, under `jax_no_execution`.
    """
    values = jax.config.values
    if runs and values["jax_no_execution"]:
        raise RuntimeError(f"JAX tried to execute function sod2.jit({name}), but the no_execution config option is set")
    for option, refused in _REFUSED_VALUES.items():
        if values.get(option) == refused:
            raise not_yet(f"{name} under {option}={refused!r}", remedy="Set it back around the call, or use jax.jit.")
    _check_devices(name, values)


def _check_devices(name: str, values: Mapping[str, Any]) -> None:
    ours = jax.local_devices(backend="cpu")[0]
    device = values["jax_default_device"]
    if device not in (None, "cpu", ours):
        raise not_yet(f"{name} under jax_default_device={device!r}", remedy=f"sod2jax runs on {ours!r}; use jax.jit there.")
    for mesh in state_compat.meshes():
        concrete = isinstance(mesh, jax.sharding.Mesh)
        if mesh.size > 1 or (concrete and any(d != ours for d in mesh.devices.flat)):
            raise not_yet(f"{name} under {mesh!r}", remedy=f"sod2jax runs on {ours!r} alone; use jax.jit for meshes.")
