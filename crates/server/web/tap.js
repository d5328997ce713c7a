// Gives away what it hears; runs where a browser makes sound.

class Tap extends AudioWorkletProcessor {
  process([[samples]]) {
    // There is none before the microphone begins. What the browser gives is its own again afterwards.
    if (samples) this.port.postMessage(samples.slice());
    return true;
  }
}

registerProcessor("tap", Tap);
