"use strict";
(async () => {
  const at = (id) => document.getElementById(id);
  const state = at("viewer-state");
  const { scan, answer, truth, colours } = JSON.parse(at("volumes").textContent);
  try {
    const view = new niivue.Niivue({
      backColor: [0, 0, 0, 1], show3Dcrosshair: false, isRadiologicalConvention: true, dragMode: 1, loadingText: "",
      crosshairWidth: 0.2, crosshairColor: [1, 1, 1, 0.5],
    });
    await view.attachToCanvas(at("gl"));
    const volume = (base64, name, opacity) => niivue.NVImage.loadFromBase64({ base64, name, opacity, colormap: "gray" });
    view.addVolume(await volume(scan, "scan.nii.gz", 1));
    // Layer 1 is the answer, layer 2 the reference; the scan shows through both.
    const tint = 0.4;
    for (const [data, name] of [[answer, "answer.nii.gz"], [truth, "truth.nii.gz"]]) {
      const layer = await volume(data, name, 0);
      layer.setColormapLabel(colours);
      view.addVolume(layer);
    }
    view.setInterpolation(true);
    view.setSliceType(view.sliceTypeMultiplanar);
    view.opts.multiplanarForceRender = false;
    const show = () => {
      view.setOpacity(1, at("answer").checked ? tint : 0);
      view.setOpacity(2, at("truth").checked ? tint : 0);
      say();
    };
    const move = () => {
      const place = Number(at("slice").value);
      const view_ = Number(at("view").value);
      const axis = view_ === 1 ? 1 : view_ === 2 ? 0 : 2;
      view.scene.crosshairPos[axis] = place;
      view.drawScene();
      say();
    };
    const say = () => {
      const shown = [at("answer").checked && "answer", at("truth").checked && "reference"].filter(Boolean);
      const cross = view.frac2mm(view.scene.crosshairPos);
      state.textContent = `showing ${shown.join(" and ") || "the scan alone"} at ${[0, 1, 2].map((k) => cross[k].toFixed(0)).join(", ")} mm`;
    };
    at("answer").onchange = at("truth").onchange = show;
    at("slice").oninput = move;
    at("view").onchange = () => { view.setSliceType(Number(at("view").value)); move(); };
    view.onLocationChange = say;
    show();
    move();
    window.medzooViewer = view;
  } catch (error) {
    state.textContent = `the viewer needs WebGL 2: ${error.message}`;
  }
})();
