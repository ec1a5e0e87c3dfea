use super::*;

/// Some functions of a profile by callgrind 3.19.
const PROFILE: &str = "# callgrind format
version: 1
creator: callgrind-3.19.0
part: 1

desc: Trigger: dump

positions: line
events: Ir
summary: 11695635

ob=(3) /usr/lib/x86_64-linux-gnu/libc.so.6
fl=(174) ./malloc/./malloc/malloc.c
fn=(918) malloc
3281 377050
+7 150820
cfn=(930) _int_malloc
calls=43651 1338
* 10184571
+3 87302
fi=(175)
162 130953

fn=(930)
1338 10184571

fn=(1628) posix_memalign
5676 51
cfn=(1630) _mid_memalign
calls=51 3524
* 60132
* 51

ob=(7) /target/devkit/bench/counts/cloakroom
fl=(152) ???
fn=(1418) alloc::str::join_generic_copy
0 230230
cob=(3)
cfi=(174)
cfn=(918)
calls=4004 3281
0 631235
0 70070
cob=(3)
cfi=(194)
cfn=(1628)
calls=2002 264
0 31031
0 510

fn=(1233) alloc::sync::Arc<T,A>::drop_slow'2
0 275
cob=(3)
cfi=(174)
cfn=(918)
calls=55 3350
0 6396
-2 463752

totals: 11695635
";

#[test]
fn own_instructions_and_calls_of_the_allocator_are_counted() {
    let profile = parse(PROFILE).unwrap();
    assert_eq!(profile.instructions, 11_695_635);
    let allocations = [("malloc".to_owned(), 4_059), ("posix_memalign".to_owned(), 2_002)];
    assert_eq!(profile.allocations, allocations.into());
    let cost = profile.cost(1_000).unwrap();
    assert_eq!((cost.instructions, cost.allocations["malloc"]), (11_695.635, 4.059));
}

/// `posix_memalign` of glibc calls `malloc` for a small alignment.
#[test]
fn what_an_allocator_calls_itself_is_not_a_second_allocation() {
    let text = PROFILE.replace("cfn=(1630) _mid_memalign", "cfn=(918)").replace("_int_malloc", "realloc'2");
    assert_eq!(parse(&text).unwrap(), parse(PROFILE).unwrap());
}

#[test]
fn profiles_that_are_cut_off_or_unknown_are_errors() {
    for (what, with) in [
        ("totals: 11695635", ""),
        ("totals: 11695635", "totals: many"),
        ("0 230230", "0 230231"),
        ("0 230230", "0"),
        ("+3 87302\n", ""),
        ("events: Ir", "events: Ir Dr"),
        ("positions: line", "positions: instr line"),
        ("fn=(1628) posix_memalign", "fn=(1628)"),
        ("calls=55 3350", "calls=many 3350"),
    ] {
        let text = PROFILE.replacen(what, with, 1);
        assert_ne!(text, PROFILE);
        assert!(parse(&text).is_err(), "{what} as {with:?}");
    }
    assert!(parse("").is_err());
}

/// As of a stripped binary, or of an allocator with unknown names: zero must not pass as a low count.
#[test]
fn profiles_without_allocations_are_errors() {
    let text = PROFILE.replace(" malloc", " 0x000000000001ab70").replace(" posix_memalign", " 0x1ab80");
    let profile = parse(&text).unwrap();
    assert!(profile.allocations.is_empty());
    let error = profile.cost(1_000).unwrap_err();
    assert!(error.contains("less than one allocation per call"), "{error}");
    // Some that something else makes, such as a library with the allocator of the system.
    assert!(parse(PROFILE).unwrap().cost(6_062).is_err());
    assert!(parse(PROFILE).unwrap().cost(6_061).is_ok());
}

#[test]
fn functions_of_allocators_are_known_by_name() {
    let known = "malloc __libc_malloc calloc realloc posix_memalign __posix_memalign aligned_alloc _rjem_malloc \
                 _rjem_calloc _rjem_mallocx _rjem_rallocx _rjem_posix_memalign mi_malloc mi_zalloc mi_calloc \
                 mi_realloc mi_malloc_aligned mi_zalloc_aligned mi_realloc_aligned mi_heap_malloc";
    for name in known.split_whitespace() {
        assert!(allocates(name), "{name}");
    }
    for name in ["free", "_int_malloc", "malloc_consolidate", "_rjem_sdallocx", "mi_free", "gateway::malloc"] {
        assert!(!allocates(name), "{name}");
    }
}
