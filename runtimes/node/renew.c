/* Seeds OpenSSL's generator of random numbers anew, as it is loaded: JavaScript cannot. A module by Node-API's convention. */

__attribute__((weak)) extern int RAND_poll(void);

void *napi_register_module_v1(void *env, void *exports) {
    (void)env;
    if (RAND_poll)
        RAND_poll();
    return exports;
}
