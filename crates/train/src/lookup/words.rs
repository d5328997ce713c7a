//! The words that names and sentences are made of.

/// Common and technical words.
pub(super) const WORDS: &str = "
able access account action active actor adapter address admin agent alarm album alert alias alpha
amber amount anchor angle animal annex answer apple apron arch archive area arena arrow artist ash
aspect asset atlas atom attic audio audit author auto avenue award axis axle bacon badge bag bake
balance ball bamboo band bank banner bar bark barn barrel base basin basket batch battery bay beach
beacon bead beam bean bear beard beast bed bee bell belt bench berry beta bike bill bin bird bit
black blade blanket blaze blend block bloom blue board boat body bolt bond bone book boot border
bottle bottom boulder bounce bow bowl box branch brand brass bread break breeze brick bridge brief
bright broker bronze brook broom brown brush bucket budget buffer build bulb bulk bundle bus bush
butter button cabin cabinet cable cache cactus cake calendar call camera camp canal candle canvas cap
capital captain carbon card cargo carpet carrier cart carve case cast castle catalog cave cedar cell
cellar census center chain chair chalk chamber change channel chapter charge chart chase check cheese
cherry chest chief child chimney choice chord church cider cinema circle circuit city claim class
clay clean clear clerk click client cliff climate clinic clip clock close cloth cloud clover club
cluster coach coal coast coat code coffee coil coin cold collect color column comet command common
company compass complete concert config connect console contact content context control convert cook
copper copy coral core cork corn corner cost cotton council count counter country course court cover
crab cradle craft crane crate cream create credit creek crew cricket crop cross crown crystal cube
cup curl current curtain curve custom cycle daemon daily dance dark dash data date dawn day deal
debit debug deck decode deep default delay delta demand depot depth desert design desk detail device
dial diamond diary digest dinner direct disk display distance district dock doctor document dog
dollar domain door double dove draft dragon drain draw dream dress drift drill drive driver drop drum
dry duck due dune dusk dust eagle early earth east echo edge edit editor effect egg elbow elder
elect element elm email ember empty encode end energy engine enter entry envelope epoch equal error
escape estate event exact exchange exit expert export extra fabric face factor factory falcon fall
family fan farm fast feather feature feed fence fern ferry fetch fiber field fig figure file fill
filter final finch finger fire first fish fit fixture flag flame flannel flash flask flat fleet flint
float flood floor flour flow flower fluid flush flute focus fog fold folder font food foot force
forest forge fork form format fort forum forward fossil fountain fox frame free freight fresh friend
frog front frost fruit fuel full function fund funnel fur future gallery game gap garage garden
garlic gas gate gateway gauge gear gem general ghost giant gift ginger giraffe glacier glass glaze
global globe glove glow glue goal goat gold golf goose grade grain grand granite grant grape graph
grass gravel gravity gray green grid ground group grove guard guest guide guitar gull gust habit hail
hall hammer hand handle harbor hard harp harvest hash hat haven hawk hazel head health heap heart
heat hedge height helium helmet help herald herb hero heron hidden high hill hinge history hive hold
holiday hollow home honey hood hook horizon horn horse host hotel hour house hub human hunter hut
ice icon idea idle image import inbox inch index indigo infra ink inlet inner input insect insert
inside install intake inter invoice iron island item ivory ivy jacket jam jar jasmine jazz jelly jet
jewel job join joint journal journey judge juice jump june jungle junior jury keen keep kernel kettle
key kick kind king kiosk kit kitchen kite knee knife knot label lace ladder lagoon lake lamp lance
land lane lantern lapse large laser last latch late launch laundry lava lawn layer lead leaf league
leather ledger left legend lemon length lens level lever library license life lift light lily limb
lime limit line linen link lion liquid list lite liter live load loaf lobby local lock lodge loft
logic long loom loop lotus low luck lumber lunar lunch lynx machine magnet mail main maker mango
manor mantle map maple marble march margin marine mark market marsh mask mast master match mate
matrix matter maximum meadow meal measure medal media medium melon member memory menu merge mesh
message metal meter method metric middle midnight mild mile milk mill mind mine mineral minimum mint
minute mirror mist mix mobile mode model modem module monitor month moon moss motion motor mount
mountain mouse mouth move mud mule museum music mustard nail name narrow nation native navy near
neck needle nest net network neutral new night noble node noise noon normal north nose note notice
number nut nylon oak oasis oat object ocean octave offer office offset olive onion onyx open opera
option orange orbit orchard orchid order organ origin otter outer outlet output outside oval oven
owl owner oxide oyster pack packet paddle page paint palace palm panda panel paper parade parcel
parent park parrot parse part partner party pass past pasta patch path patrol pause peach peak
pear pearl pebble pedal pelican pen pencil people pepper perch period permit phase phone photo piano
picnic piece pier pigeon pile pillar pilot pin pine pipe pivot pixel pizza place plain plan plane
planet plank plant plaster plate platform play plaza pledge plot plow plug plum plus pocket poem
point polar pole policy pond pool poplar poppy porch port portal post potato powder power prairie
press price pride primary prime print prism private probe process product profile program project
prompt proof proxy public pulse pump pupil puppet purple purse push puzzle quail quality quantum
quarry quart quartz queen query quest queue quick quiet quill quilt quota rabbit race rack radar
radio radius raft rail rain raise rally ramp ranch random range rank rapid rate raven raw razor
reader ready rear reason rebel record red reed reef refund region relay release relic remote render
rent repair reply report request rescue reserve reset resin resort result resume retry return review
reward rhythm ribbon rice ridge right ring river road roast robin robot rock rocket role roof room
root rope rose rotor rough round route router row royal rubber ruby rug rule runner rush rust saddle
safe saga sage sail salad salmon salon salt sample sand satin sauce scale scan scarf scene schema
scheme school science scope score scout screen script scroll sea seal search season seat second secret
section secure seed select seller sense sentry serial series server service session shade shadow shaft
share shark sharp sheep sheet shelf shell shield shift ship shirt shoe shop shore short shovel show
shuttle side signal silence silk silver simple single siren site size sketch skill skin sky slate
sled sleep sleeve slice slope slot slow small smart smoke smooth snail snake snow soap social socket
sofa soft soil solar solid solo sonar song sonic sort sound source south space spare spark sparrow
spatula speaker spec speed sphere spice spider spike spin spine spiral spirit splash sponge spoon
sport spot spring sprint spruce square squash stack staff stage stair stamp stand staple star start
state station statue status steam steel stem step stereo stick still stock stone stool stop storage
store storm story stove strap straw stream street strict string strip studio study style submit
subway sugar suite summer summit sun super supply surface surge swamp swan sweep swift switch sword
symbol sync syntax syrup system table tablet tag tail tailor talent tank tape target task tea teal
team temple tempo tenant tender tennis tent terminal test text theater theme theory thermal thick
thin thread throne thumb thunder ticket tide tiger tile timber time timer tin tiny tissue title toast
token tomato tone tool top topaz topic torch total touch tower town toy trace track tractor trade
traffic trail train transit trap travel tray treat tree trend trial tribe trigger trim trip tropic
truck trumpet trunk trust tube tulip tuna tundra tunnel turbine turbo turkey turn turtle twig twin
type ultra umbrella union unique unit unity upper upset urban usage user utility vacuum valley value
valve vanilla vapor vault vector velvet vendor vent venue verb version vessel video view villa vine
vinegar viola violet virtual visa vision visit visual vital voice volcano volume voyage wagon waiter
walk wall walnut warden ware warm wash watch water wave wax weather web wedge week weight west whale
wheat wheel whistle white wick wide widget width wild willow wind window wing winter wire wisdom wolf
wood wool word work worker world worm wrap wren wrench yacht yard yarn year yeast yellow yield yoga
young youth zebra zenith zero zigzag zinc zone zoom";

/// Given names of women.
pub(super) const FEMALE: &str = "
Ada Alma Ana Anika Astrid Aya Beata Bianca Carla Carmen Clara Cora Dana Dina Dora Elena Elif Emma
Esra Eva Fatima Fiona Freya Gita Greta Hana Hannah Helena Ida Ines Ingrid Irene Jana Joan Judith
Julia Karin Kira Klara Laura Leah Leila Lena Livia Lucy Maja Mara Maren Maria Marta Mei Mila Mina
Mira Nadia Naomi Nina Nora Olga Olive Paula Petra Priya Rhea Rita Rosa Ruth Sara Selma Sofia Sonja
Tara Teresa Uma Vera Viola Wanda Xenia Yara Zara Zoe Abigail Adele Agnes Alice Amelia Amina Anita
Annika Audrey Beatrice Brenda Camila Cecilia Charlotte Chiara Claudia Daphne Delia Edith Eliza
Emilia Esther Eunice Fanny Flora Frida Gloria Grace Gwen Harriet Hazel Heidi Hilda Imani Irina
Isabel Iris Ivy Jasmine Josefine Kamala Katya Lakshmi Lidia Lotte Lydia Mabel Magda Marisol
Matilda Meera Miriam Monika Nadine Noemi Odette Ottilie Pia Philippa Ramona Renata Rosalind Sabine
Salma Sigrid Silvia Stella Svenja Tabea Tilda Ulrike Ursula Valerie Yasmin Ximena Zainab
Zoë Chloé Élodie Noémie Inês Renée Åsa Märta Sørine Zuzanna Şebnem Nadège Jördis Íris Özlem";

/// Given names of men.
pub(super) const MALE: &str = "
Alan Amir Anders Anton Arjun Ben Bruno Cecil Chen Daniel Dario David Edgar Elias Emil Erik Farid
Felix Franz Gabriel Hassan Hector Hugo Ian Igor Isaac Ivan Jack Jasper Johan Jonas Jorge Kai Karim
Kenji Lars Leon Linus Luca Magnus Malik Marius Max Miles Mohan Nils Noah Omar Oscar Otto Pavel
Pedro Quentin Rafael Ravi Ruben Sami Samuel Simon Stefan Sven Theo Tom Ugo Victor Wim Yusuf Aaron
Abel Adam Albert Alejandro Alfred Ambrose Andrei Arthur Axel Barnaby Bashir Benedict Boris Caleb
Carlos Casper Cyril Dmitri Dominic Edmund Eduardo Einar Emeka Enzo Ernest Fabian Fergus Finn
Florian Francis Frederik George Gilbert Giovanni Gregor Gustav Harold Harvey Henrik Hiroshi Horace
Ibrahim Ismail Jacob Jerome Joaquin Julian Kofi Konrad Kwame Leopold Lorenz Ludwig Marco Mateo
Matthias Mikhail Moritz Nathan Nikolai Olaf Oliver Patrick Percy Philip Ramon Raymond Reuben Rolf
Rupert Sebastian Sergei Sigurd Stanley Tariq Thomas Tobias Ulrich Valentin Walter Wilhelm Xavier
Yannick Zoltan
José Søren Łukasz Jürgen René André Günther Óscar Jérôme Måns Björn Çetin Niccolò Tomáš Øyvind";

/// Family names.
pub(super) const FAMILY: &str = "
Abbott Adler Ahmed Almeida Andersen Arnold Bach Bauer Becker Bell Berg Bishop Blake Bloom Brandt
Brooks Brown Burke Castro Chavez Clark Cole Conrad Cooper Costa Cruz Dahl Dalton Dawson Diaz Drake
Duran Eklund Ellis Engel Falk Farrell Ferrari Fischer Fleming Foster Frank Fraser Fuchs Garcia Gibson
Grant Graves Greene Haas Hale Hansen Hart Hayes Hoffman Holm Holt Horn Hughes Ito Jansen Jensen Kane
Kaya Keller Kim Klein Koch Kovac Kruger Kumar Lang Larsen Lind Lopez Lund Marsh Martin Mason Mehta
Meyer Miller Moreau Moreno Nakamura Nash Nguyen Nolan Novak Olsen Ortega Osman Park Patel Perez
Peters Petrov Pham Popov Quinn Ramos Reed Reyes Rossi Roth Rowe Ruiz Sato Schmidt Shah Sharp Silva
Simon Singh Sokolov Stein Stone Suzuki Swan Tanaka Thorne Torres Turner Vance Vargas Vogel Wagner
Walsh Ward Weber Weiss West Winter Wolf Wood Yilmaz Young Ziegler
Müller García Håkansson Núñez Šimić Dvořák Lefèvre Gómez Öztürk Järvinen Weiß Björk Çelik Vågen
Krüger Peña Sjöberg Kovač Nguyễn Lukács Żak Fønss Bäcker Muñoz Jönsson Ibáñez Grünewald Hägg";

/// Beginnings and ends of invented places.
pub(super) const PLACE: (&str, &str) = (
    "Alder Ash Bar Birch Black Brad Bright Cal Carn Clay Cold Crag Dar Dun East Elm Fair Fal Fen Glen
Gold Grim Hart Hazel High Hol Iron Kel Kirk Lang Lin Long Mar Mil Mor New Nor Oak Old Pem Quin Raven
Red Rock Rose Sal Sand Sel Silver Stan Stone Tarn Thorn Up Vel Wal West White Wind Wood Yar",
    "beck bourne bridge burg bury by cliff combe cross dale den down fell field ford gate grove ham
haven hill holm hurst ing land leigh ley low marsh mere minster mont mouth ness port ridge sea shire
side stead stoke stone thorpe ton vale view ville water well wick wood worth",
);

/// Endings of package names, and of names that look alike.
pub(super) const ENDINGS: &str = "
core derive macros sys util utils json io net http tls async sync test tests cli api client server
common types base impl internal lite plus extra max min old new next prev primary backup main dev prod
staging v2 v3 2 3 4 rs py js proto data store cache pool queue worker parser writer reader builder
codec crypto hash rand time fmt log error config env path file fs os win unix web auth admin";
