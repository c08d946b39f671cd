// @ts-check
/** The client of imd for web pages.  See docs/javascript.rst. @module */
export { ImdError } from "./client/errors.js";
