/* Seeds OpenSSL's generator of random numbers anew, as it is loaded: JavaScript cannot. A module by Node-API's convention. */

__attribute__((weak)) extern int RAND_poll(void);
extern int napi_throw_error(void *env, const char *code, const char *message);

void *napi_register_module_v1(void *env, void *exports) {
    if (!RAND_poll || RAND_poll() != 1)
        napi_throw_error(env, 0, "this Node's generator of random numbers cannot be seeded anew");
    return exports;
}
