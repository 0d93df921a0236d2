//! The binary: see the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads at its start. Memory that was freed goes back to the system within a second or so, not ten: after a
/// long reply hundreds of MiB would otherwise stay for all that time. (`_RJEM_MALLOC_CONF` overrides it.)
#[expect(
    unsafe_code,
    reason = "jemalloc finds its settings by the name of a symbol; this program has no other of that name"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: Option<&std::ffi::c_char> = Some(
    // A pointer to the first byte, as C has it: the text ends with a zero.
    unsafe { &*c"dirty_decay_ms:1000,muzzy_decay_ms:0".as_ptr() },
);

fn main() -> ExitCode {
    rejoinder::cli::main()
}
