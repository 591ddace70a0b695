/* libFuzzer's entry points: each input goes to a Python function, whose exception counts as a crash. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *check;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    Py_InitializeEx(0); /* signals are libFuzzer's */
    PyObject *module = PyImport_ImportModule("fuzz.inside");
    check = module ? PyObject_CallMethod(module, "checker", NULL) : NULL;
    if (check == NULL) {
        PyErr_Print();
        exit(1);
    }
    Py_DECREF(module);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PyObject *result = PyObject_CallFunction(check, "y#", data, (Py_ssize_t)size);
    if (result == NULL) {
        PyErr_Print();
        abort();
    }
    Py_DECREF(result);
    return 0;
}
