/** The worker serves uPlot beside the page's own files; its types are the package's. */
export { default } from 'uplot';
