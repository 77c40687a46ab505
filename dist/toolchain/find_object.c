/*
 * _dl_find_object(3) for programs with musl, which has none: gcc's unwinder (since 12) asks it where the unwinding tables are of
 * the object that an address belongs to. The structure is glibc's, from its manual (The GNU C Library, "Dynamic Linker
 * Introspection"), of machines that need no base of data, as x86-64.
 */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <stdint.h>

struct dl_find_object {
    unsigned long long flags;
    void *map_start;
    void *map_end;
    void *link_map;
    void *eh_frame; /* the segment PT_GNU_EH_FRAME */
    unsigned long long reserved[7];
};

struct question {
    uintptr_t address;
    struct dl_find_object *answer;
};

static int look(struct dl_phdr_info *object, size_t size, void *data)
{
    struct question *question = data;
    void *tables = NULL;
    int found = 0;

    (void)size;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + segment->p_vaddr;

        if (segment->p_type == PT_GNU_EH_FRAME)
            tables = (void *)start;
        if (segment->p_type == PT_LOAD && question->address - start < segment->p_memsz) {
            question->answer->map_start = (void *)start;
            question->answer->map_end = (void *)(start + segment->p_memsz);
            found = 1;
        }
    }
    question->answer->eh_frame = tables;
    return found && tables;
}

/* 0 where the object was found, -1 where there is none with tables. */
int _dl_find_object(void *address, struct dl_find_object *answer)
{
    struct question question = { (uintptr_t)address, answer };

    *answer = (struct dl_find_object){ 0 };
    return dl_iterate_phdr(look, &question) ? 0 : -1;
}
