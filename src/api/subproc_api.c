// Sub-processes.
#include "api/api_types.h"
#include "core/report/message.h"

mi_subproc_id_t mi_subproc_main(void) {
  runtime_process_attach();
  return subproc_to(subproc_main());
}

mi_subproc_id_t mi_subproc_current(void) {
  runtime_process_attach();
  return subproc_to(runtime_subproc());
}

mi_subproc_id_t mi_subproc_new(void) {
  runtime_process_attach();
  subproc_t* subproc = subproc_new();
  if (subproc == NULL) {
    message_error(MESSAGE_ENOMEM, "unable to make a sub-process");
    os_set_errno(MESSAGE_ENOMEM);
  }
  return subproc_to(subproc);
}

void mi_subproc_destroy(mi_subproc_id_t id) {
  subproc_t* subproc = subproc_from(id);
  if (subproc == NULL) return;
  if (subproc == subproc_main()) {
    message_warning("mi_subproc_destroy: the main sub-process stays\n");
  } else if (!subproc_destroy(subproc)) {
    message_warning("mi_subproc_destroy: there are threads in the sub-process, or it is gone already\n");
  }
}

void mi_subproc_add_current_thread(mi_subproc_id_t id) {
  subproc_t* subproc = subproc_from(id);
  if (subproc == NULL) return;
  runtime_process_attach();
  if (!runtime_subproc_add_current_thread(subproc)) {
    message_warning(
        "mi_subproc_add_current_thread: the sub-process is gone, or the thread has allocated in another "
        "one already; it stays there\n");
  }
}

typedef struct heap_visitor_fun_s {
  mi_heap_visit_fun* function;
  void* arg;
} heap_visitor_fun_t;

static bool visit_heap(heap_t* heap, void* arg) {
  const heap_visitor_fun_t* visitor = (const heap_visitor_fun_t*)arg;
  return visitor->function(heap_to(heap), visitor->arg);
}

bool mi_subproc_visit_heaps(mi_subproc_id_t id, mi_heap_visit_fun* visitor, void* arg) {
  subproc_t* subproc = subproc_from(id);
  if (subproc == NULL || visitor == NULL) return false;
  heap_visitor_fun_t call = {visitor, arg};
  return subproc_visit_heaps(subproc, &visit_heap, &call);
}
